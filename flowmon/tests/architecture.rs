//! The invariants of `ARCHITECTURE.md` that a search can hold.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Words that only some places may use; a place is a file or folder by how its path begins.
const WORDS: [Words; 6] = [
    Words {
        words: &["aya::", "aya_log::"],
        only_in: &["flowmon/src/kernel"],
    },
    Words {
        words: &[
            "rtnetlink::",
            "netlink_packet_core::",
            "netlink_packet_route::",
        ],
        only_in: &["flowmon/src/netlink"],
    },
    Words {
        words: &["kube::"],
        only_in: &["flowmon/src/kubernetes"],
    },
    Words {
        words: &["clap::"],
        only_in: &["flowmon/src/cli"],
    },
    // Everywhere else time is an argument.
    Words {
        words: &[
            "Clock::new",
            "Instant::now",
            "Timestamp::now",
            "SystemTime",
            "clock_gettime",
        ],
        only_in: &[
            "flowmon/src/clock.rs",
            // When to be woken next, which nobody else is told.
            "flowmon/src/kernel/events.rs",
            "flowmon/src/pipeline",
            "flowmon/src/commands",
            "flowmon/src/lab",
            // How long a watch lasted, or something took, in order to rest.
            "flowmon/src/kubernetes",
        ],
    },
    Words {
        words: &["unsafe "],
        only_in: &[
            "flowmon/src/kernel",
            "flowmon-common/src/abi.rs",
            "flowmon-ebpf/src",
        ],
    },
];

/// What each room may know of the others; those that compose know all.
const ROOMS: [(&str, &[&str]); 25] = [
    ("model", &[]),
    ("file_watch", &[]),
    ("clock", &[]),
    ("diagnostics", &["clock"]),
    ("kernel", &["model"]),
    ("netlink", &["model"]),
    ("selection", &["model"]),
    ("flow", &["model"]),
    // The other end of a veth is a question to the kernel, which netlink asks; and an inventory is
    // read as policies are.
    ("identity", &["file_watch", "model", "netlink", "policy"]),
    ("kubernetes", &["audit", "identity", "model", "policy"]),
    ("policy", &["model"]),
    ("replay", &["model"]),
    ("audit", &["model", "policy"]),
    ("report", &[]),
    ("http", &["config"]),
    // Files of settings are read as policies are.
    ("config", &["policy"]),
    ("scenario", &["model", "policy"]),
    ("suggest", &["model", "policy", "audit"]),
    ("sinks", &["model", "clock", "diagnostics"]),
    ("lab", &["netlink"]),
    (
        "rehearsal",
        &["audit", "kernel", "lab", "model", "netlink", "policy"],
    ),
    (
        "settings",
        &["kernel", "policy", "selection", "sinks", "suggest"],
    ),
    (
        "cli",
        &[
            "config",
            "diagnostics",
            "kernel",
            "policy",
            "selection",
            "settings",
            "suggest",
        ],
    ),
    ("pipeline", EVERYTHING),
    ("commands", EVERYTHING),
];
const EVERYTHING: &[&str] = &["*"];

/// A file that is longer has more than one subject.
const MOST_LINES: usize = 600;

struct Words {
    words: &'static [&'static str],
    only_in: &'static [&'static str],
}

struct Source {
    /// From the root of the repository.
    path: String,
    /// Without comments.
    code: String,
    lines: usize,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below these folders.
fn sources(folders: &[&str]) -> io::Result<Vec<Source>> {
    let root = root();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                let is_code = |line: &&str| !line.trim_start().starts_with("//");
                found.push(Source {
                    path: path
                        .strip_prefix(&root)
                        .unwrap_or(&path)
                        .display()
                        .to_string(),
                    code: text.lines().filter(is_code).collect::<Vec<_>>().join("\n"),
                    lines: text.lines().count(),
                });
            }
        }
    }
    Ok(found)
}

/// The rooms that are named as `crate::room` or in `crate::{room, …}`.
fn rooms_named(code: &str) -> BTreeSet<&str> {
    let mut named = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let Some(group) = after.strip_prefix('{') else {
            named.insert(identifier(after));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, char) in group.char_indices() {
            match char {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !char.is_whitespace() => {
                    named.insert(identifier(group.get(at..).unwrap_or_default()));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    named
}

fn identifier(text: &str) -> &str {
    let end = text.find(|char: char| char != '_' && !char.is_alphanumeric());
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

#[test]
fn words_stay_where_they_belong() -> io::Result<()> {
    let sources = sources(&["flowmon/src", "flowmon-common/src", "flowmon-ebpf/src"])?;
    for Words { words, only_in } in WORDS {
        let uses = |source: &&Source| words.iter().any(|word| source.code.contains(word));
        let allowed = |source: &&Source| only_in.iter().any(|place| source.path.starts_with(place));
        let (right, wrong): (Vec<_>, Vec<_>) = sources.iter().filter(uses).partition(allowed);
        let wrong: Vec<_> = wrong.iter().map(|source| &source.path).collect();
        assert!(
            wrong.is_empty(),
            "{words:?} only in {only_in:?}, not in {wrong:?}"
        );
        assert!(
            !right.is_empty(),
            "nobody says {words:?}: is the rule out of date?"
        );
    }
    Ok(())
}

#[test]
fn rooms_know_only_what_they_may() -> io::Result<()> {
    let mut rooms = BTreeSet::new();
    for source in sources(&["flowmon/src"])? {
        let path = source.path.trim_start_matches("flowmon/src/");
        let room = identifier(path);
        if ["lib", "main"].contains(&room) {
            continue;
        }
        rooms.insert(room.to_owned());
        let rule = ROOMS.iter().find(|(name, _)| *name == room);
        assert!(rule.is_some(), "{room} is new: what may it know?");
        let may = rule.map_or(EVERYTHING, |(_, may)| may);
        for named in rooms_named(&source.code) {
            let fine = may == EVERYTHING || named == room || may.contains(&named);
            assert!(fine, "{path}: {room} may know {may:?}, not {named}");
        }
    }
    for (room, _) in ROOMS {
        assert!(rooms.contains(room), "there is no room {room} any more");
    }
    Ok(())
}

#[test]
fn files_have_one_subject() -> io::Result<()> {
    let folders = ["flowmon", "flowmon-common", "flowmon-ebpf", "netns-tests"];
    for Source { path, lines, .. } in sources(&folders)? {
        assert!(lines <= MOST_LINES, "{path} has {lines} lines: split it");
    }
    Ok(())
}

#[test]
fn the_code_map_is_of_this_place() -> io::Result<()> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let map = text
        .split("\n## ")
        .find(|section| section.starts_with("Code map"));
    let mut mapped = BTreeSet::new();
    for row in map
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with("| `"))
    {
        let quoted = row.split('`').skip(1).step_by(2);
        let mut folder = PathBuf::new();
        let is_file = |name: &str| Path::new(name).extension().is_some();
        for name in quoted.filter(|name| is_file(name) || name.ends_with('/')) {
            // The first of a row is whole; the others are beside it, or in its sources.
            let places = [folder.join(name), folder.join("src").join(name)];
            let found = places.into_iter().find(|place| root().join(place).exists());
            assert!(
                found.is_some(),
                "the code map's {name} does not exist: {row}"
            );
            let found = found.unwrap_or_default();
            if folder.as_os_str().is_empty() {
                let is_folder = name.ends_with('/');
                folder = if is_folder {
                    found.clone()
                } else {
                    found.with_file_name("")
                };
            }
            mapped.insert(found);
        }
    }
    for (room, _) in ROOMS {
        let file = Path::new("flowmon/src").join(room).with_extension("rs");
        assert!(
            mapped.contains(&file),
            "{} is not on the code map",
            file.display()
        );
    }
    Ok(())
}

#[test]
fn imports_are_understood() {
    let code = "use crate::{clock, model::{Flow, a::{B}}, flow::*}; crate::lab::x(); use std::fs;";
    let named: Vec<_> = rooms_named(code).into_iter().collect();
    assert_eq!(named, ["clock", "flow", "lab", "model"]);
}

#[test]
fn every_fuzz_target_is_replayed_by_a_test() -> io::Result<()> {
    let tests = sources(&["flowmon", "flowmon-common"])?;
    for target in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        let path = target?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let replay = format!("replay(\"{name}\"");
        assert!(
            tests.iter().any(|test| test.code.contains(&replay)),
            "no test says {replay}, ...)"
        );
    }
    Ok(())
}
