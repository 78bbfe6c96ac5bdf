//! `flowmon check`, as it is called.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

#[path = "support/sarif.rs"]
mod sarif;

use std::{fs, io, path::PathBuf, process::Command};

use flowmon::policy::rules::RULES;

const GOOD: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a}
spec: {podSelector: {}}
---
{apiVersion: v1, kind: Service}
";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> io::Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("flowmon-check-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("below"))?;
        Ok(Self(folder))
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.0.join(name), text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

/// Exit code, stdout and stderr, paths of the folder left out.
fn check(folder: &Folder, more: &[&str]) -> io::Result<(Option<i32>, String, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_flowmon"))
        .arg("check")
        .arg(&folder.0)
        .args(more)
        .output()?;
    let text = |bytes: Vec<u8>| {
        let folder = format!("{}/", folder.0.display());
        String::from_utf8_lossy(&bytes).replace(&folder, "")
    };
    Ok((
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    ))
}

#[test]
fn what_is_in_order_is_counted() -> io::Result<()> {
    let folder = Folder::new("order")?;
    folder.write("below/a.yaml", GOOD)?;
    folder.write("not-a-document.txt", "{")?;
    let (code, stdout, _) = check(&folder, &[])?;
    assert_eq!(
        stdout,
        "policies in order: 1 NetworkPolicy; other objects, passed over: 1 Service; \
         0 errors, 0 warnings, 0 notes\n"
    );
    assert_eq!(code, Some(0));
    Ok(())
}

#[test]
fn errors_have_their_place_and_exit_code_2() -> io::Result<()> {
    let folder = Folder::new("errors")?;
    folder.write("a.yaml", &GOOD.replace("podSelector", "podSelecter"))?;
    folder.write(
        "b.json",
        "{\"kind\": \"\u{1b}[2J\", \"apiVersion\": \"v1\"} {",
    )?;
    let (code, stdout, _) = check(&folder, &[])?;
    let errors: Vec<_> = stdout
        .lines()
        .filter(|line| line.contains(": error: "))
        .collect();
    let want = "a.yaml:4:8: error: spec.podSelecter: unknown field `podSelecter`; known here: \
                podSelector, policyTypes, ingress, egress [unknown-field]";
    assert!(errors.contains(&want), "{stdout}");
    assert!(stdout.contains("\nb.json:1:"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "{stdout:?}");
    assert_eq!(code, Some(2));
    Ok(())
}

#[test]
fn warnings_fail_only_if_asked() -> io::Result<()> {
    let folder = Folder::new("warnings")?;
    folder.write(
        "a.yml",
        &GOOD.replace("podSelector: {}", "podSelector: {}, egress: []"),
    )?;
    let (code, stdout, _) = check(&folder, &[])?;
    assert!(stdout.starts_with("a.yml:4:7: warning: spec: "), "{stdout}");
    assert_eq!(code, Some(0));
    let (code, stdout, _) = check(&folder, &["--output", "sarif"])?;
    assert!(
        stdout.contains(r#""ruleId": "empty-egress-without-type""#),
        "{stdout}"
    );
    assert!(stdout.contains(r#""startLine": 4"#), "{stdout}");
    sarif::assert_is_sarif(&serde_json::from_str(&stdout)?);
    assert_eq!(code, Some(0));
    let (code, stdout, _) = check(&folder, &["--strict", "--output", "json"])?;
    assert_eq!(code, Some(1));
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .any(|line| line.contains(r#""rule":"empty-egress-without-type""#))
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains(r#""schema":"flowmon.check.v1""#))
    );
    Ok(())
}

#[test]
fn with_an_inventory_more_is_seen() -> io::Result<()> {
    let folder = Folder::new("inventory")?;
    folder.write("a.yaml", GOOD)?;
    let cluster = folder.0.join("cluster.txt");
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: elsewhere}}";
    fs::write(&cluster, pod)?;
    let cluster = cluster.display().to_string();
    let (code, stdout, _) = check(&folder, &["--inventory", &cluster])?;
    assert!(
        stdout.starts_with("a.yaml:1:1: warning: it selects no pod [selects-no-pod]"),
        "{stdout}"
    );
    assert_eq!(code, Some(0));
    Ok(())
}

#[test]
fn what_cannot_be_read_is_named() -> io::Result<()> {
    let folder = Folder::new("unreadable")?;
    fs::write(folder.0.join("a.yaml"), b"\xff\xfe")?;
    // It hides nothing of the others.
    folder.write("b.yaml", "{")?;
    let (code, stdout, _) = check(&folder, &[])?;
    assert!(
        stdout.starts_with("a.yaml: error: it can't be read: "),
        "{stdout}"
    );
    assert!(stdout.contains("[unreadable]\nb.yaml:1:"), "{stdout}");
    assert_eq!(code, Some(2));
    let (code, _, stderr) = check(&folder, &["/does/not/exist"])?;
    assert!(stderr.contains("/does/not/exist"), "{stderr}");
    assert_eq!(code, Some(2));
    Ok(())
}

#[test]
fn every_rule_is_documented_and_used() -> io::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/check.md"))?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<_> = rows
        .filter_map(|row| row.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let names: Vec<_> = RULES.iter().map(|(name, _)| *name).collect();
    assert_eq!(documented, names);
    let mut code = String::new();
    let mut folders = vec![root.join("src/policy"), root.join("src/commands")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("rules.rs") && !path.ends_with("tests.rs") {
                code += &fs::read_to_string(path)?;
            }
        }
    }
    for name in names {
        assert!(
            code.contains(&format!("\"{name}\"")),
            "nothing is called {name}"
        );
    }
    Ok(())
}
