//! A line of the table.

/// What was measured, round by round.
pub(crate) struct Row<'a> {
    pub(crate) measure: &'a str,
    pub(crate) unit: &'a str,
    /// What it is measured against; empty when there is nothing.
    pub(crate) floor: &'a [f64],
    pub(crate) ours: &'a [f64],
    pub(crate) goal: &'a str,
}

impl Row<'_> {
    /// The table is Markdown: `docs/benchmarks.md` has it as it is printed.
    pub(crate) fn heading() {
        println!("| measure | against | flowmon | ratio | goal |\n|---|---|---|---|---|");
    }

    /// Each figure is the least, the median and the most of all rounds.
    pub(crate) fn print(&self) {
        let ratios: Vec<f64> = std::iter::zip(self.ours, self.floor)
            .map(|(ours, floor)| ours / floor)
            .collect();
        println!(
            "| {}, {} | {} | {} | {} | {} |",
            self.measure,
            self.unit,
            spread(self.floor),
            spread(self.ours),
            spread(&ratios),
            self.goal
        );
    }
}

fn spread(rounds: &[f64]) -> String {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.first(), sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(only), _, _) if sorted.len() == 1 => digits(*only),
        (Some(least), Some(median), Some(most)) => {
            format!(
                "{} **{}** {}",
                digits(*least),
                digits(*median),
                digits(*most)
            )
        }
        _ => String::new(),
    }
}

/// Three digits tell all there is to tell.
fn digits(number: f64) -> String {
    if number >= 100.0 {
        format!("{number:.0}")
    } else if number >= 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
}
