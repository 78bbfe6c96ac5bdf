//! What is allowed and denied, counted and compared.

use serde_json::{Value, json};

use crate::run::{
    Folder, audit, audit_stdin, cart_to_redis, complete, example, lines, record, said,
};

fn flows() -> String {
    example("shop-flows.jsonl")
}

#[test]
fn the_example_comes_to_what_was_meant() {
    let finished = audit(&flows(), &["--output", "json"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (1, ""));
    let (records, summary) = said(&finished);
    assert_eq!(records.len(), 28);
    for (field, expected) in [
        // Of 13 flows: the cart's to redis and to the DNS, at both ends.
        ("flows", json!(13)),
        ("allowed", json!(4)),
        // The cart's to 6380, at both ends; the web's two to redis, at both; the web's out.
        ("violations", json!(7)),
        ("undecided", json!(1)),
        ("undecided_reasons", json!({"undefined-protocol": 1})),
        ("not_judged", json!({"not-ip": 1})),
        ("denied_by_peer", json!(6)),
        ("records", json!(28)),
        ("unreadable", json!(0)),
        ("complete", json!(true)),
    ] {
        assert_eq!(summary[field], expected, "{field}: {summary}");
    }
    let groups: Vec<Value> = summary["violation_groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            json!([
                group["verdict"]["policy"],
                group["endpoint"]["name"],
                group["peer"]["name"]
                    .as_str()
                    .or(group["peer"]["ip"].as_str()),
                group["port"],
                group["flows"],
                group["packets"],
                group["bytes"],
            ])
        })
        .collect();
    let to_redis =
        |of: &str, policy: &str, peer: &str| json!([policy, of, peer, 6379, 2, 22, 2040]);
    for group in [
        to_redis("web-0", "shop/default-deny", "redis-0"),
        to_redis("redis-0", "shop/redis-from-cart", "web-0"),
        json!(["shop/cart-to-redis", "cart-0", "redis-0", 6380, 1, 4, 256]),
        json!([
            "shop/default-deny",
            "web-0",
            "203.0.113.9",
            443,
            1,
            15,
            5900
        ]),
    ] {
        let found = groups.iter().any(|found| {
            // Which of several policies that isolate a pod is named, is the ruleset's choice.
            found.as_array().unwrap()[1..] == group.as_array().unwrap()[1..]
        });
        assert!(found, "{group} is not in {groups:#?}");
    }
    assert_eq!(groups.len(), 5, "{groups:#?}");
    let group = &summary["violation_groups"][2];
    let explanation = group["explanation"].as_str().unwrap();
    let clause = "shop/cart-to-redis egress[0]: ports wants TCP 6379, got TCP 6380";
    assert!(explanation.contains(clause), "{group}");
    let suggestion = group["suggestions"][0]["yaml"].as_str().unwrap();
    assert!(suggestion.contains("port: 6380"), "{suggestion}");
}

#[test]
fn every_record_comes_again_with_its_verdict_and_nothing_else_changed() {
    let finished = audit(&flows(), &["--output", "json"]);
    let input = std::fs::read_to_string(flows()).unwrap();
    for (before, after) in input.lines().zip(finished.stdout.lines()).take(28) {
        let verdict = after.find(",\"verdict\":").unwrap_or(after.len() - 1);
        assert_eq!(&before[..before.len() - 1], &after[..verdict]);
    }
    // A recorded verdict is replaced where it stands, and white space does not matter.
    let odd = concat!(
        r#" { "schema":"flowmon.flow.v1","verdict" : {"outcome":"allowed", "of":[1,{"a":"}"}]} ,"#,
        r#""x":"\u0041","time":"2026-11-22T10:00:00Z","direction":"egress","protocol":"tcp","#,
        r#""local":{"ip":"10.1.0.5"},"remote":{"ip":"10.1.0.9","port":6380,"new":null} } "#
    );
    let finished = audit_stdin("-", &["--output", "json"], odd.as_bytes());
    let line = finished.stdout.lines().next().unwrap();
    let (head, rest) = line.split_once("\"verdict\" : ").unwrap();
    assert_eq!(head, "{ \"schema\":\"flowmon.flow.v1\",");
    let (verdict, rest) = rest.split_once(" ,").unwrap();
    let verdict: Value = serde_json::from_str(verdict).unwrap();
    assert_eq!(verdict["outcome"], "denied");
    assert_eq!(verdict["direction"], "egress");
    assert_eq!(verdict["kind"], "NetworkPolicy");
    assert_eq!(verdict["reason"], "no-rule-matched");
    assert_eq!(verdict["peer_outcome"], "denied");
    assert!(rest.starts_with(r#""x":"\u0041","time""#), "{rest}");
    assert!(rest.ends_with("\"new\":null} }"), "{rest}");
}

#[test]
fn a_record_has_one_verdict() {
    let mut undecided_before = cart_to_redis(6380);
    undecided_before["verdict"] = Value::Null;
    let mut arp = undecided_before.clone();
    arp["protocol"] = json!("arp");
    arp["verdict"] = json!({"outcome": "allowed"});
    let log = lines(&[undecided_before, arp]);
    let finished = audit_stdin("-", &["--output", "json"], log.as_bytes());
    for line in finished.stdout.lines().take(2) {
        assert_eq!(line.matches("\"verdict\"").count(), 1, "{line}");
    }
    let (records, _) = said(&finished);
    assert_eq!(records[0]["verdict"]["outcome"], "denied");
    assert_eq!(records[1]["verdict"], Value::Null);
}

#[test]
fn the_callers_wish_decides_the_exit_code() {
    let folder = Folder::new();
    let log = |name: &str, records: &[Value]| folder.file(name, lines(records));
    let allowed = cart_to_redis(6379);
    let denied = cart_to_redis(6380);
    let undecided = record("unknown", ("10.1.0.5", 40_000), ("10.1.0.9", 6379));
    let lossy = json!({"schema": "flowmon.summary.v1", "lost": {"events": 1}, "complete": false});
    for (name, records, expected) in [
        ("allowed", &[allowed.clone(), complete()][..], [0, 0, 0]),
        (
            "denied",
            &[allowed.clone(), denied.clone(), complete()],
            [1, 1, 0],
        ),
        ("undecided", &[undecided.clone(), complete()], [0, 3, 0]),
        ("both", &[undecided, denied, complete()], [1, 1, 0]),
        ("lossy", &[allowed.clone(), lossy], [0, 3, 0]),
        (
            "mangled",
            &[allowed.clone(), json!("?"), complete()],
            [0, 3, 0],
        ),
        ("open", &[allowed], [0, 0, 0]),
        ("empty", &[], [0, 0, 0]),
    ] {
        let log = log(name, records);
        for (fail_on, expected) in ["denied", "undecided", "never"].iter().zip(expected) {
            let finished = audit(&log, &["--fail-on", fail_on]);
            assert_eq!(
                finished.code, expected,
                "{name} {fail_on}: {}",
                finished.stdout
            );
        }
    }
}

#[test]
fn a_flow_counts_once_wherever_its_reports_are() {
    let report = |event: &str, packets: u64| {
        let mut record = cart_to_redis(6380);
        record["event"] = json!(event);
        record["first_seen"] = json!("2026-11-22T09:59:00.000000000Z");
        record["tx"] = json!({"packets": packets, "bytes": packets * 60});
        record
    };
    let folder = Folder::new();
    let early = folder.file("early", lines(&[report("new", 1), report("update", 5)]));
    let late = folder.file("late", lines(&[report("end", 9), complete()]));
    let finished = audit(&format!("{early},{late}"), &["--output", "json"]);
    let (records, summary) = said(&finished);
    assert_eq!((records.len(), &summary["flows"]), (3, &json!(1)));
    let group = &summary["violation_groups"][0];
    assert_eq!(
        [&group["flows"], &group["packets"], &group["bytes"]],
        [&json!(1), &json!(9), &json!(540)]
    );
    assert_eq!(group["first_seen"], "2026-11-22T09:59:00.000000000Z");
    assert_eq!(group["last_seen"], "2026-11-22T10:00:00.000000000Z");
}

#[test]
fn names_in_the_record_count_more_than_addresses() {
    // As if the address had been the cart's when it was recorded.
    let mut named = record("egress", ("10.1.0.7", 40_000), ("10.1.0.9", 6379));
    named["endpoint"] = json!({"kind": "pod", "namespace": "shop", "name": "cart-0"});
    let finished = audit_stdin("-", &[], lines(&[named]).as_bytes());
    assert_eq!(finished.code, 0, "{}", finished.stdout);
}

#[test]
fn what_was_for_another_address_is_no_violation() {
    let to_redis = |ip: &str, verdict: Value| {
        let mut record = record("ingress", (ip, 6380), ("10.1.0.5", 40_000));
        record["endpoint"] = json!({"kind": "pod", "namespace": "shop", "name": "redis-0"});
        record["verdict"] = verdict;
        record
    };
    let recorded = json!({"outcome": "undecided", "reason": "other-destination"});
    let records = [
        to_redis("10.1.0.9", Value::Null),
        to_redis("224.0.0.251", Value::Null),
        // Whose that was, who watched knew.
        to_redis("10.1.0.77", recorded),
    ];
    let log = lines(&[&records[..], &[complete()]].concat());
    let (records, _) = said(&audit_stdin("-", &["--output", "json"], log.as_bytes()));
    let reasons = records.iter().map(|it| &it["verdict"]["reason"]);
    let other = "other-destination";
    assert_eq!(
        reasons.collect::<Vec<_>>(),
        ["no-rule-matched", other, other]
    );
}

#[test]
fn the_difference_is_told_and_only_what_is_newly_denied_fails() {
    let with = |port: u16, outcome: Option<&str>| {
        let mut record = cart_to_redis(port);
        if let Some(outcome) = outcome {
            record["verdict"] = json!({"outcome": outcome, "direction": "egress"});
        }
        record
    };
    let diff = |records: &[Value], args: &[&str]| {
        let args = [&["--diff"], args].concat();
        audit_stdin("-", &args, lines(records).as_bytes())
    };
    let known = [
        with(6379, Some("allowed")),
        with(6379, Some("undecided")),
        with(6379, None),
        with(6380, Some("denied")),
    ];
    let finished = diff(&known, &[]);
    assert_eq!(finished.code, 0, "{}", finished.stdout);
    assert!(!finished.stdout.contains("NEWLY"), "{}", finished.stdout);
    for (record, title, code) in [
        (with(6380, Some("allowed")), "NEWLY DENIED: 1 flow", 1),
        (with(6380, Some("undecided")), "NEWLY DENIED: 1 flow", 1),
        (with(6380, None), "NEWLY DENIED: 1 flow", 1),
        (with(6379, Some("denied")), "NEWLY ALLOWED: 1 flow", 0),
    ] {
        let finished = diff(&[record.clone(), with(6381, Some("denied"))], &[]);
        assert_eq!(finished.code, code, "{record}");
        let titles: Vec<_> = finished
            .stdout
            .lines()
            .filter(|line| line.starts_with("NEWLY"))
            .collect();
        assert_eq!(titles, [title], "{record}");
        let (_, summary) = said(&diff(&[record], &["--output", "json"]));
        let change = title
            .split(':')
            .next()
            .unwrap()
            .to_lowercase()
            .replace(' ', "-");
        assert_eq!(summary["changes"][change][0]["flows"], 1, "{summary}");
    }
}
