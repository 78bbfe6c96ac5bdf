//! Lines of bounded length.

use std::io::{self, BufRead as _, BufReader, Read};

/// A record has less than 4 KB; with every label a pod may have, less than this.
pub(super) const LONGEST: u64 = 1 << 20;
const BUFFER: usize = 256 * 1024;

/// Reads line by line; of a line that is too long no more than [`LONGEST`] is kept.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: BufReader<R>,
    line: Vec<u8>,
    number: u64,
}

/// What a line turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It is there to be read.
    Whole,
    /// There is nothing in it.
    Blank,
    /// It was passed over.
    TooLong,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source: BufReader::with_capacity(BUFFER, source),
            line: Vec::new(),
            number: 0,
        }
    }

    /// The number of the line that was read last, from 1.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The line that was read last, without white space around it.
    pub(super) fn line(&self) -> &[u8] {
        self.line.trim_ascii()
    }

    /// Reads on; none at the end.
    pub(super) fn advance(&mut self) -> io::Result<Option<Line>> {
        self.line.clear();
        let mut bounded = (&mut self.source).take(LONGEST + 1);
        let read = bounded.read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 > LONGEST && self.line.last() != Some(&b'\n') {
            self.line.clear();
            self.source.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(if self.line().is_empty() {
            Line::Blank
        } else {
            Line::Whole
        }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    /// `x`, 100 MB of them, and then a line.
    fn flood() -> impl Read {
        io::repeat(b'x').take(100_000_000).chain(&b"\nafter"[..])
    }

    #[test]
    fn a_line_too_long_is_passed_over_in_bounded_memory() {
        let mut lines = Lines::new(flood());
        assert_eq!(lines.advance().unwrap(), Some(Line::TooLong));
        assert!(
            lines.line.capacity() <= 4 << 20,
            "{}",
            lines.line.capacity()
        );
        assert_eq!(lines.advance().unwrap(), Some(Line::Whole));
        assert_eq!((lines.line(), lines.number()), (&b"after"[..], 2));
        assert_eq!(lines.advance().unwrap(), None);
    }

    #[test]
    fn the_longest_line_is_read() {
        let longest = "y".repeat(usize::try_from(LONGEST).unwrap());
        for (text, expected) in [
            (longest.clone(), Line::Whole),
            (longest.clone() + "\n", Line::Whole),
            (longest.clone() + "y\n", Line::TooLong),
            (longest + "y", Line::TooLong),
        ] {
            let mut lines = Lines::new(text.as_bytes());
            assert_eq!(lines.advance().unwrap(), Some(expected));
            assert_eq!(lines.advance().unwrap(), None);
        }
    }

    #[test]
    fn ends_of_lines_of_both_kinds_and_none() {
        let mut lines = Lines::new(&b"a\r\n\n \t\nb"[..]);
        assert_eq!(lines.advance().unwrap(), Some(Line::Whole));
        assert_eq!(lines.line(), b"a");
        assert_eq!(lines.advance().unwrap(), Some(Line::Blank));
        assert_eq!(lines.advance().unwrap(), Some(Line::Blank));
        assert_eq!(lines.advance().unwrap(), Some(Line::Whole));
        assert_eq!((lines.line(), lines.number()), (&b"b"[..], 4));
        assert_eq!(lines.advance().unwrap(), None);
        assert_eq!(lines.number(), 4);
    }
}
