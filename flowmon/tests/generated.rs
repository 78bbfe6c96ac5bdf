//! What is made from the command line's definition: completions and manual pages.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    fs,
    process::{Command, Output},
};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

fn flowmon(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flowmon"))
        .args(args)
        .output()
        .unwrap()
}

fn said(args: &[&str]) -> String {
    let output = flowmon(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// As `--help` lists them.
fn commands() -> Vec<String> {
    let help = said(&["--help"]);
    let listed = help.split("Commands:").nth(1).unwrap();
    let listed = listed.split("Options:").next().unwrap();
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names
        .map(str::to_owned)
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_shell_has_a_script_that_knows_every_command() {
    let commands = commands();
    assert!(commands.len() > 8, "{commands:?}");
    for shell in SHELLS {
        let script = said(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} lacks {command}");
        }
    }
    assert_eq!(flowmon(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn bash_completes_commands_and_options() {
    let complete = |words: &str, at: usize| {
        let script = format!(
            "{}\nCOMP_WORDS=({words}); COMP_CWORD={at}\n\
             _flowmon flowmon \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{}]}}\"\necho \"${{COMPREPLY[@]}}\"",
            said(&["completions", "bash"]),
            at - 1
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &script])
            .output();
        let output = output.unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("flowmon wat", 1), "watch");
    assert_eq!(complete("flowmon watch --ifa", 2), "--iface");
    assert_eq!(complete("flowmon watch --xdp s", 3), "skb");
}

#[test]
fn every_command_has_a_page_with_its_options() {
    let folder = std::env::temp_dir().join(format!("flowmon-man-{}", std::process::id()));
    said(&["man", "--into", folder.to_str().unwrap()]);
    for command in commands() {
        let page = fs::read_to_string(folder.join(format!("flowmon-{command}.1"))).unwrap();
        assert!(page.contains(&format!(".TH flowmon-{command} 1")), "{page}");
        let printed = said(&["man", &command]);
        let help = said(&[&command, "--help"]);
        let words = help
            .split_whitespace()
            .filter(|word| word.starts_with("--"));
        let ends = |char: char| char != '-' && !char.is_alphanumeric();
        for option in words.filter_map(|word| word.trim_start_matches('-').split(ends).next()) {
            let written = option.replace('-', "\\-");
            assert!(page.contains(&written), "{command}: no {option}");
            assert!(printed.contains(&written), "{command}: no {option}");
        }
    }
    let whole = fs::read_to_string(folder.join("flowmon.1")).unwrap();
    assert_eq!(said(&["man"]), whole);
    fs::remove_dir_all(folder).unwrap();
    let unknown = flowmon(&["man", "observe"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no command observe"));
}
