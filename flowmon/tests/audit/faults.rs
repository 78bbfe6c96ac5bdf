//! Logs that are broken, missing or hostile, and readers that go away.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
};

use serde_json::json;

use crate::run::{
    Folder, audit, audit_stdin, cart_to_redis, command, complete, lines, record, said,
};

#[test]
fn what_cannot_be_read_is_told_with_its_line_and_the_rest_is_read() {
    let good = cart_to_redis(6379).to_string();
    let mut log = Vec::new();
    let too_much = format!("{{\"schema\":\"{}\"}}", "x".repeat(2_000_000));
    for line in [
        good.as_bytes(),
        b"{\"schema\":\"flowmon.flow.v1\"",
        b"not json at all \x1b[2J",
        b"\xff\xfe",
        b"",
        too_much.as_bytes(),
        br#"{"schema":"flowmon.flow.v2","time":"later"}"#,
        br#"{"schema":"flowmon.flow.v1","time":"t","direction":"sideways"}"#,
        good.as_bytes(),
        complete().to_string().as_bytes(),
        &good.as_bytes()[..40], // cut in the middle, no end of line
    ] {
        log.extend_from_slice(line);
        log.push(b'\n');
    }
    log.pop();
    let folder = Folder::new();
    let log = folder.file("flows.log", log);
    let finished = audit(&log, &["--output", "json"]);
    assert_eq!(finished.code, 0);
    let (records, summary) = said(&finished);
    assert_eq!(records.len(), 2);
    assert_eq!(summary["unreadable"], 6, "{summary}");
    assert_eq!(summary["foreign"], json!({"flowmon.flow.v2": 1}));
    assert_eq!(summary["complete"], false);
    let told: Vec<_> = finished.stderr.lines().collect();
    let expected = [
        ":2: truncated at column 27; passed over",
        ":3: no JSON object; passed over",
        ":4: not UTF-8 at column 1; passed over",
        ":6: longer than 1 MiB; passed over",
        ":7: of schema flowmon.flow.v2; passed over",
        ":8: unknown variant `sideways`, expected one of `egress`, `ingress`, `unknown` at column \
         61; passed over",
        ":11: truncated at column 40; passed over",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.ends_with(&format!("{log}{expected}")), "{told}");
    }
    assert_eq!(audit(&log, &["--fail-on", "undecided"]).code, 3);
}

#[test]
fn complaints_are_bounded() {
    let finished = audit_stdin("-", &[], "?\n".repeat(100_000).as_bytes());
    assert_eq!(finished.stderr.lines().count(), 11, "{}", finished.stderr);
    assert!(finished.stderr.contains("standard input:10:"));
    assert!(finished.stderr.contains("and 99990 more lines"));
    assert!(finished.stdout.contains("100000 lines could not be read"));
}

#[test]
fn a_log_that_is_none_is_named() {
    let folder = Folder::new();
    let missing = format!("{}/missing", folder.name());
    for (log, what) in [
        (missing.as_str(), "No such file or directory"),
        (folder.name(), "is a folder; name the logs in it"),
    ] {
        // Also when a good one comes first: nothing is read in vain.
        let good = folder.file("good", lines(&[cart_to_redis(6379)]));
        for log in [log.to_owned(), format!("{good},{log}")] {
            let finished = audit(&log, &[]);
            assert_eq!((finished.code, finished.stdout.as_str()), (2, ""));
            assert!(finished.stderr.contains(what), "{}", finished.stderr);
            assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
        }
    }
}

#[test]
fn names_do_not_move_the_cursor() {
    let mut named = cart_to_redis(6380);
    named["endpoint"] = json!({"kind": "container", "name": "\u{1b}]0;owned\u{7}\n| row"});
    for output in ["table", "junit", "sarif"] {
        let log = lines(&[named.clone()]);
        let finished = audit_stdin("-", &["--output", output], log.as_bytes());
        assert!(!finished.stdout.contains(['\u{1b}', '\u{7}']), "{output}");
        assert!(!finished.stdout.contains("\n| row"), "{output}");
    }
}

#[test]
fn groups_without_end_are_added_up() {
    // Every port of redis is another group; 20,000 are more than are told apart.
    let mut log = String::new();
    for port in 20_000..40_000 {
        let mut flow = cart_to_redis(port);
        flow["tx"] = json!({"packets": 2, "bytes": 100});
        log.push_str(&lines(&[flow]));
    }
    let finished = audit_stdin("-", &[], log.as_bytes());
    let said = |words| assert!(finished.stdout.contains(words), "{}", finished.stdout);
    said("DENIED: 20000 flows");
    // 50 groups are told, of 16,384 and the one of all other ports: that has the most flows.
    said("… and 16335 more groups with 16335 flows; --output json has all");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = command("-", &["--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let line = format!("{}\n", cart_to_redis(6380));
    let writing = std::thread::spawn(move || {
        // Until the command has gone too.
        (0..10_000_000).find(|_| input.write_all(line.as_bytes()).is_err())
    });
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let code = child.wait().unwrap().code();
    assert!(
        writing.join().unwrap().is_some(),
        "it read all of its input"
    );
    // What it had seen by then was denied.
    assert_eq!(code, Some(1));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = std::fs::File::create("/dev/full").unwrap();
    let folder = Folder::new();
    let log = folder.file(
        "log",
        lines(&[record("egress", ("10.1.0.5", 1), ("10.1.0.9", 6379))]),
    );
    for output in ["table", "json", "junit", "sarif"] {
        let finished = command(&log, &["--output", output])
            .stdout(full.try_clone().unwrap())
            .output()
            .unwrap();
        assert_eq!(finished.status.code(), Some(2), "{output}");
        let said = String::from_utf8(finished.stderr).unwrap();
        assert!(said.contains("cannot write the output"), "{said}");
    }
}
