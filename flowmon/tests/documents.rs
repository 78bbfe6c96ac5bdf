//! No text makes the readers of policies and inventories panic, hang or point outside of it.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail by panicking, and tells what it measured"
)]

use std::time::{Duration, Instant};

use flowmon::policy::document;
use proptest::{collection::vec, prelude::*, sample::select};

#[path = "../../fuzz/properties/document.rs"]
mod property;
#[path = "../../fuzz/properties/replay.rs"]
mod replay;

/// Policies of every kind, and an inventory.
const SEEDS: [&str; 4] = [
    include_str!("../../fuzz/corpus/document/network-policy.yaml"),
    include_str!("../../fuzz/corpus/document/cluster-network-policy.yaml"),
    include_str!("../../fuzz/corpus/document/admin-network-policies.yaml"),
    include_str!("../../fuzz/corpus/document/inventory.json"),
];

/// What YAML and JSON are made of, and what these objects are.
const WORDS: &[&str] = &[
    "\n",
    "\n",
    "\n  ",
    "\n    ",
    " ",
    ": ",
    "- ",
    "---\n",
    "...\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: ",
    "|\n",
    ">-\n",
    "!!str ",
    "!x ",
    "? ",
    "#",
    "%",
    "~",
    "\t",
    "\r\n",
    "\u{feff}",
    "\u{85}",
    "é",
    "apiVersion",
    "networking.k8s.io/v1",
    "policy.networking.k8s.io/v1alpha1",
    "kind",
    "NetworkPolicy",
    "List",
    "items",
    "AdminNetworkPolicy",
    "metadata",
    "name",
    "default",
    "spec",
    "podSelector",
    "ingress",
    "egress",
    "from",
    "to",
    "ports",
    "port",
    "80",
    "1e3",
    "0x",
    "yes",
    "matchLabels",
    "ipBlock",
    "cidr",
    "10.0.0.0/8",
    "subject",
    "priority",
];

#[test]
fn what_the_fuzzer_kept() {
    replay::replay("document", property::check);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text(text in any::<String>()) {
        property::check(text.as_bytes());
    }

    #[test]
    fn words_in_any_order(words in vec(select(WORDS), 0..60)) {
        property::check(words.concat().as_bytes());
    }

    #[test]
    fn documents_with_something_wrong(
        seed in select(&SEEDS[..]),
        cuts in vec((any::<prop::sample::Index>(), 0_usize..12, select(WORDS)), 0..6),
    ) {
        let mut chars: Vec<char> = seed.chars().collect();
        for (at, length, word) in cuts {
            let at = at.index(chars.len().max(1)).min(chars.len());
            let end = (at + length).min(chars.len());
            chars.splice(at..end, word.chars());
        }
        let text: String = chars.into_iter().collect();
        property::check(text.as_bytes());
    }
}

/// Sizes that a reader with a quadratic or exponential corner would not survive.
#[test]
fn timing_big_and_evil_texts_end_soon() {
    let lines = |line: &str, times: usize| line.repeat(times);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    let mut level = 1;
    while bomb.len() < 50 << 20 {
        let below = level - 1;
        let line = format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}]\n");
        bomb.push_str(&line);
        level += 1;
    }
    let texts = [
        ("alias bomb of 50 MB", bomb),
        ("deep flow", lines("[", 5 << 20)),
        ("deep blocks", lines("- ", 5 << 20)),
        ("deep JSON", lines("{\"a\":", 5 << 20)),
        ("many documents", lines("---\n", 1 << 18)),
        ("many bad documents", lines("---\n[\n", 1 << 20)),
        (
            "one line of JSON",
            format!("{{\"a\": [{}1]}}", lines("1,", 1 << 20)),
        ),
        ("one line of YAML", format!("[{}1]", lines("1,", 1 << 18))),
        ("one long key", format!("{}: 1", lines("k", 5 << 20))),
        (
            "one long string",
            format!("a: \"{}\"", lines("\\n", 5 << 20)),
        ),
        ("many anchors", lines("- &a x\n", 1 << 17)),
        ("twins", lines("a: 1\n", 1 << 17)),
        ("comments", lines("# x\n", 2 << 20)),
        ("question marks", lines("? ", 1 << 20)),
        ("colons", lines("a: ", 1 << 20)),
        ("blank", lines(" ", 4 << 20)),
        ("quotes", lines("'", 5 << 20)),
    ];
    for (name, text) in texts {
        let begin = Instant::now();
        let documents = document::read([("file".into(), &*text)]);
        let took = begin.elapsed();
        println!("{name}: {took:?}, {} problems", documents.problems.len());
        assert!(documents.set.policies.is_empty());
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
    }
}
