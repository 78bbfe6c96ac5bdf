//! `docs/metrics.md` tells of every family there is, and of no other.

use std::{collections::BTreeSet, error::Error};

use flowmon::sinks::FAMILIES;

#[test]
fn every_family_is_told_of() -> Result<(), Box<dyn Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let text = std::fs::read_to_string(path)?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: BTreeSet<(&str, &str)> = rows
        .filter_map(|row| {
            let (name, rest) = row.split_once("` | ")?;
            Some((name, rest.split_once(" |")?.0))
        })
        .collect();
    let there = FAMILIES.iter().map(|family| (family.name, family.kind()));
    assert_eq!(told, there.collect());
    Ok(())
}
