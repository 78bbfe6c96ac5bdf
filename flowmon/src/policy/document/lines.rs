//! Places as editors show them: a line ends with a line feed, a column is a character. (To YAML a
//! carriage return alone ends a line, too.)

/// Where each line of a text begins.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    /// Number of the first line.
    first: u32,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str, first: u32) -> Self {
        let feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            text,
            starts: feeds.map(|(at, _)| at + 1).collect(),
            first,
        }
    }

    /// Line and column of a byte.
    pub(super) fn place(&self, byte: usize) -> (u32, u32) {
        let above = self.starts.partition_point(|start| *start <= byte);
        let start = above.checked_sub(1).and_then(|line| self.starts.get(line));
        let before = self.text.get(start.copied().unwrap_or_default()..byte);
        let above = u32::try_from(above).unwrap_or(u32::MAX);
        (
            self.first.saturating_add(above),
            column(before.unwrap_or_default()),
        )
    }
}

/// The column behind what stands before it in its line. A long line is not counted to its end: it
/// would be counted once for every value in it.
pub(super) fn column(before: &str) -> u32 {
    const COUNTED: usize = 4096;
    let column = if before.len() > COUNTED {
        before.len()
    } else {
        before.chars().count()
    };
    u32::try_from(column + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn a_line_ends_with_a_line_feed_and_with_nothing_else() {
        let lines = Lines::new("ä: b\r\nc\rd: e\n", 7);
        let places = [0, 2, 6, 9, 12, 14].map(|byte| lines.place(byte));
        assert_eq!(places, [(7, 1), (7, 2), (7, 6), (8, 3), (8, 6), (9, 1)]);
    }
}
