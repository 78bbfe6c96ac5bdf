//! The two readers agree where their languages do.

use proptest::{collection::vec, prelude::*};

use crate::policy::document::{
    json,
    tree::{Node, Value},
    yaml,
};

/// Some JSON, as text. Keys are shorter than YAML's limit for them.
fn text() -> impl Strategy<Value = String> {
    let string = |pattern| {
        let quoted = |text: String| serde_json::to_string(&text).unwrap_or_default();
        string_of(pattern).prop_map(quoted)
    };
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|it| it.to_string()),
        any::<i64>().prop_map(|it| it.to_string()),
        (-1_000_000_i64..1_000_000).prop_map(|it| format!("{it}.5")),
        string(".{0,20}"),
        string("[ -~]{0,20}"),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let list = vec(inner.clone(), 0..6).prop_map(|items| format!("[ {} ]", items.join(", ")));
        let entry = (string("[a-z./ 0-9:#-]{0,12}"), inner)
            .prop_map(|(key, value)| format!("{key}: {value}"));
        let map = vec(entry, 0..6).prop_map(|entries| format!("{{\n{}}}", entries.join(",\n")));
        prop_oneof![list, map]
    })
}

/// Text that may stand in YAML as it is (YAML 1.2.2, section 5.1).
fn string_of(pattern: &'static str) -> impl Strategy<Value = String> {
    let printable =
        |char: &char| !char.is_control() && !matches!(char, '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    pattern.prop_map(move |text: String| text.chars().filter(printable).collect())
}

/// Values without their places.
fn plain(node: &Node<'_>) -> String {
    match &node.value {
        Value::List(items) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(entries) => {
            let entry =
                |it: &super::super::tree::Entry<'_>| format!("{:?}:{}", it.key, plain(&it.value));
            let entries: Vec<_> = entries.iter().map(entry).collect();
            format!("{{{}}}", entries.join(","))
        }
        other => format!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn json_is_read_alike_by_both(text in text()) {
        let by_json = json::parse(&text, 1);
        let by_json = by_json.map(|nodes| nodes.iter().map(plain).collect::<Vec<_>>());
        let by_yaml = yaml::parse(&text, 1).map(|node| node.iter().map(plain).collect::<Vec<_>>());
        prop_assert_eq!(by_json, by_yaml, "{}", text);
    }
}

#[test]
fn what_is_no_json() {
    for text in [
        "{",
        "[1,]",
        "{\"a\" 1}",
        "{a: 1}",
        "[1 2]",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\n\"",
        "01",
        "1.",
        "-",
        "+1",
        ".5",
        "tru",
        "nul",
        "{\"a\":1,}",
        "[",
        "{\"a\":",
        "'a'",
        "1e",
        "--1",
        "\"\\",
        "\"\\u00é\"",
    ] {
        assert!(json::parse(text, 1).is_err(), "{text}");
    }
}

#[test]
fn escapes_of_json() {
    let nodes = json::parse(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83dx\udc00""#, 1);
    let node = nodes.ok().and_then(|nodes| nodes.into_iter().next());
    let text = node.as_ref().and_then(Node::text).map(str::to_owned);
    let want = "\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}x\u{fffd}";
    assert_eq!(text.as_deref(), Some(want));
}

#[test]
fn an_escape_of_a_line_break_is_told_where_it_stands() {
    let fault = json::parse("{\"a\": \"x\\\n\"}", 1).err();
    let place = fault.map(|fault| (fault.line, fault.column));
    assert_eq!(place, Some((1, 9)));
}
