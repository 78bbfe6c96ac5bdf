//! `flowmon run --config`: what goes over what, and the file that is shipped.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("flowmon-config-{name}-{id}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// `run --check-config`, in this environment and no other.
fn check(args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flowmon"))
        .args(["run", "--check-config"])
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// What it prints: by section and key, the value and where it comes from.
fn settings(output: &Output) -> BTreeMap<String, (String, String)> {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut section = "";
    let mut settings = BTreeMap::new();
    for line in text.lines() {
        let Some(setting) = line.strip_prefix("  ") else {
            section = line.trim_end_matches(':');
            continue;
        };
        let (key, rest) = setting.split_once(": ").unwrap();
        let (value, origin) = rest.split_once(" # ").unwrap();
        let found = (value.trim().to_owned(), origin.to_owned());
        settings.insert(format!("{section}.{key}"), found);
    }
    settings
}

#[test]
fn flags_go_over_the_environment_that_over_the_file_and_that_over_defaults() {
    let folder = Folder::new("order");
    let text = "watch: {interfaces: [a, b], interval: 2s}\ndiagnostics: {format: json}\n";
    let file = folder.write("flowmon.yaml", text);
    let found = |args: &[&str], environment: &[(&str, &str)], key: &str| {
        settings(&check(args, environment)).remove(key).unwrap()
    };
    let is = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    let by_file = ["--config", &file];
    let by_flag = ["--config", &file, "--interval", "4s", "--iface", "d"];
    let variables = [("FLOWMON_INTERVAL", "3s"), ("FLOWMON_IFACE", "c")];
    let key = "watch.interval";
    assert_eq!(found(&["--iface", "x"], &[], key), is("1s", "default"));
    assert_eq!(found(&by_file, &[], key), is("2s", &format!("{file}:1:39")));
    assert_eq!(
        found(&by_file, &variables, key),
        is("3s", "FLOWMON_INTERVAL")
    );
    assert_eq!(found(&by_flag, &variables, key), is("4s", "--interval"));
    // Lists alike: one replaces another.
    let key = "watch.interfaces";
    assert_eq!(
        found(&by_file, &[], key),
        is("[a, b]", &format!("{file}:1:21"))
    );
    assert_eq!(found(&by_file, &variables, key), is("[c]", "FLOWMON_IFACE"));
    assert_eq!(found(&by_flag, &variables, key), is("[d]", "--iface"));
    // The file may be named by the environment, and options of all commands are in it, too.
    let key = "diagnostics.format";
    let by_variable = [("FLOWMON_CONFIG", &*file)];
    assert_eq!(
        found(&[], &by_variable, key),
        is("json", &format!("{file}:2:23"))
    );
    assert_eq!(
        found(&["--log-format", "text"], &by_variable, key),
        is("text", "--log-format")
    );
    let said = check(&by_file, &[]).stderr;
    assert!(
        said.starts_with(b"{\""),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn what_is_wrong_ends_it_with_the_place() {
    let folder = Folder::new("wrong");
    let fails = |args: &[&str], says: &str| {
        let output = check(args, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{says:?} is not in {said}");
    };
    let typo = folder.write("typo.yaml", "watch:\n  interfaces: all\n  intervall: 1s\n");
    fails(
        &["--config", &typo],
        &format!("{typo}:3:3: unknown field `intervall`"),
    );
    fails(
        &["--config", "/nowhere.yaml"],
        "/nowhere.yaml: it can't be read",
    );
    let nothing = folder.write("nothing.yaml", "metrics: {label_port: true}\n");
    fails(&["--config", &nothing], "--iface");
    // What it names is looked at, too; its paths begin at its folder.
    folder.write("broken.yaml", "kind: NetworkPolicy\n");
    let text = "watch: {interfaces: all}\npolicies: {paths: [broken.yaml]}\n";
    let file = folder.write("flowmon.yaml", text);
    fails(
        &["--config", &file],
        "broken.yaml:1:1: the object has no `apiVersion`",
    );
    let text = "watch: {interfaces: all}\nidentity: {inventory: [nobody.yaml]}\n";
    let file = folder.write("flowmon.yaml", text);
    fails(&["--config", &file], "nobody.yaml");
}

/// Each setting is in the file that is shipped, with the default it has, or as an example.
#[test]
fn the_shipped_file_tells_of_every_setting_and_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/flowmon.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let defaults = settings(&check(&["--iface", "all"], &[]));
    let as_it_is = settings(&check(&["--config", path.to_str().unwrap()], &[]));
    for (key, (value, _)) in &as_it_is {
        assert_eq!(*value, defaults.get(key).unwrap().0, "{key}");
    }
    // With everything uncommented, and the files there that are examples.
    let folder = Folder::new("shipped");
    let mut whole = String::new();
    let (mut comment, mut examples) = (String::new(), Vec::new());
    let mut section = "";
    for line in text.lines() {
        let setting = line
            .strip_prefix("  # ")
            .or_else(|| line.strip_prefix("  "));
        let named = setting.and_then(|line| line.split_once(':'));
        let named = named.filter(|(key, _)| {
            key.chars()
                .all(|char| char.is_ascii_lowercase() || char == '_')
        });
        match (named, setting) {
            (Some((key, _)), Some(setting)) => {
                let key = format!("{section}.{key}");
                let (_, origin) = defaults
                    .get(&key)
                    .unwrap_or_else(|| panic!("no setting {key}"));
                let option = if origin == "--iface" {
                    "--iface"
                } else {
                    "(--"
                };
                assert!(
                    comment.contains(option) && comment.contains("FLOWMON_"),
                    "{key}: {comment}"
                );
                if comment.contains("Example;") {
                    examples.push(key);
                }
                whole.extend(["  ", setting, "\n"]);
                comment.clear();
            }
            (_, Some(setting)) => comment += setting,
            (_, None) => {
                section = line.trim_end_matches(':');
                whole.extend([line, "\n"]);
                comment.clear();
            }
        }
    }
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
        metadata: {name: p, namespace: d}\nspec: {podSelector: {}}\n";
    folder.write("policies", policy);
    folder.write("web-config.yaml", "{}\n");
    folder.write("inventory.yaml", "apiVersion: v1\nkind: List\nitems: []\n");
    let file = folder.write("flowmon.yaml", &whole);
    let told = settings(&check(&["--config", &file], &[]));
    for (key, (value, origin)) in &told {
        assert!(origin.starts_with(&file), "{key} is not told of: {origin}");
        if !examples.contains(key) {
            assert_eq!(*value, defaults.get(key).unwrap().0, "the default of {key}");
        }
    }
}
