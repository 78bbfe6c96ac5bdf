//! What is said on standard error, as the command line asks for it.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

/// A command that fails with one message.
fn fails(variables: &[(&str, &str)], args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flowmon"))
        .env_remove("FLOWMON_LOG")
        .envs(variables.iter().copied())
        .args(args)
        .args(["man", "observe"])
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn text_is_for_people_and_json_for_collectors() {
    let text = said(&fails(&[], &[]));
    assert_eq!(
        text,
        "ERROR flowmon has no command observe; see `flowmon --help`\n"
    );
    for output in [
        fails(&[], &["--log-format", "json"]),
        fails(&[("FLOWMON_LOG_FORMAT", "json")], &[]),
    ] {
        let line: Value = serde_json::from_str(&said(&output)).unwrap();
        let field = |name| line.get(name).and_then(Value::as_str).unwrap();
        assert_eq!(field("level"), "error");
        assert!(field("message").contains("no command observe"));
        assert!(field("time").ends_with('Z'));
    }
}

#[test]
fn levels_can_be_chosen_and_v_goes_before() {
    assert_eq!(said(&fails(&[("FLOWMON_LOG", "off")], &[])), "");
    assert_eq!(said(&fails(&[("FLOWMON_LOG", "h2=info")], &[])), "");
    assert_ne!(said(&fails(&[("FLOWMON_LOG", "flowmon=error")], &[])), "");
    assert_ne!(said(&fails(&[("FLOWMON_LOG", "off")], &["-v"])), "");
    let wrong = said(&fails(&[("FLOWMON_LOG", "flowmon=loud")], &[]));
    assert!(wrong.contains("flowmon=loud"), "{wrong}");
}
