//! The command as it is typed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Code, what it printed, and what it complained about.
fn flowmon(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_flowmon"))
        .args(args)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn example(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    root.join(name).to_str().unwrap().to_owned()
}

/// A file that is removed when dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("flowmon-suggest-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is not worth a panic.
        let _left = std::fs::remove_file(&self.0);
    }
}

#[test]
fn an_audit_by_the_suggestion_finds_nothing() {
    let (flows, inventory) = (example("shop-flows.jsonl"), example("shop-inventory.yaml"));
    let known = ["--flows", &flows, "--inventory", &inventory];
    let (code, yaml, said) = flowmon(&[&["suggest"], &known[..]].concat());
    assert_eq!(code, 0);
    assert!(
        said.contains("1 flow not covered: see the questions"),
        "{said}"
    );
    let again = flowmon(&[&["suggest"], &known[..]].concat());
    assert_eq!(again.1, yaml, "the same twice");

    let file = File::new("policies.yaml", &yaml);
    let policies = ["--policies", file.name()];
    let (code, found, _) = flowmon(&[&["audit"], &known[..], &policies].concat());
    assert_eq!(code, 0, "{found}");
    assert!(found.contains("0 denied, 1 undecided"), "{found}");
    let (code, found, said) = flowmon(&["check", file.name()]);
    assert_eq!((code, &*said), (0, ""), "{found}");

    let (code, rest, _) = flowmon(&[&["suggest", "--merge"], &known[..], &policies].concat());
    assert_eq!((code, rest.matches("kind:").count()), (0, 0), "{rest}");
    let shop = example("shop");
    let with = ["--merge", "--policies", &shop];
    let (_, rest, _) = flowmon(&[&["suggest"], &known[..], &with].concat());
    let rest = File::new("rest.yaml", &rest);
    let both = ["--policies", &shop, rest.name()];
    let (code, found, _) = flowmon(&[&["audit"], &known[..], &both].concat());
    assert_eq!(code, 0, "{found}");
}

#[test]
fn cluster_network_policies_are_in_order_too() {
    let (flows, inventory) = (example("shop-flows.jsonl"), example("shop-inventory.yaml"));
    let known = ["--flows", &flows, "--inventory", &inventory];
    let format = ["--format", "cluster-network-policy"];
    let (code, yaml, _) = flowmon(&[&["suggest"], &known[..], &format].concat());
    assert_eq!(code, 0);
    let file = File::new("cluster.yaml", &yaml);
    let (code, found, said) = flowmon(&["check", file.name()]);
    assert_eq!((code, &*said), (0, ""), "{found}");
    assert!(found.contains("4 ClusterNetworkPolicy"), "{found}");
    assert!(found.contains("0 errors, 0 warnings"), "{found}");
    // The ping is nothing that a rule for ports allows, and here it is denied.
    let policies = ["--policies", file.name()];
    let (code, found, _) = flowmon(&[&["audit"], &known[..], &policies].concat());
    assert_eq!(code, 1, "{found}");
    assert!(found.contains("1 denied, 0 undecided"), "{found}");

    let shop = example("shop");
    let merge = ["--merge", "--policies", &shop];
    let (code, yaml, said) = flowmon(&[&["suggest"], &known[..], &format, &merge].concat());
    assert_eq!((code, &*yaml), (2, ""), "{said}");
    assert!(said.contains("--merge is for network policies"), "{said}");
}

#[test]
fn what_is_missing_in_the_log_is_said() {
    let inventory = example("shop-inventory.yaml");
    let log = File::new("cut.jsonl", "{\"schema\":\"flowmon.flow.v1\"\nnonsense\n");
    let (code, yaml, said) =
        flowmon(&["suggest", "--flows", log.name(), "--inventory", &inventory]);
    assert_eq!(code, 0);
    assert!(
        yaml.contains("# INCOMPLETE: 2 x line that can't be read"),
        "{yaml}"
    );
    assert!(said.contains(":1: truncated"), "{said}");
}

#[test]
fn wrong_input_is_2() {
    let (flows, inventory) = (example("shop-flows.jsonl"), example("shop-inventory.yaml"));
    for args in [
        &["--flows", "/nowhere", "--inventory", &*inventory][..],
        &["--flows", &flows, "--inventory", "/nowhere"],
        &["--flows", &flows],
        &["--flows", &flows, "--inventory", &inventory, "--merge"],
        &[
            "--flows",
            &flows,
            "--inventory",
            &inventory,
            "--policies",
            &inventory,
        ],
        &[
            "--flows",
            &flows,
            "--inventory",
            &inventory,
            "--merge",
            "--policies",
            &inventory,
        ],
    ] {
        let (code, yaml, said) = flowmon(&[&["suggest"], args].concat());
        assert_eq!((code, &*yaml), (2, ""), "{args:?}: {said}");
        assert!(!said.is_empty());
    }
}
