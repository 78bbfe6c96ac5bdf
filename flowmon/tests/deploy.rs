//! What is shipped in `deploy/` says what it should, and no more rights than are used.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by panicking, and says what it skipped"
)]

#[path = "support/tool.rs"]
mod tool;
#[path = "support/yaml.rs"]
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use tool::tool;

/// `CAP_*` that a daemon keeps (`kernel/capability.rs`).
const KEPT: [&str; 5] = ["BPF", "NET_ADMIN", "PERFMON", "SYS_PTRACE", "NET_BROADCAST"];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

/// The objects of a file, by kind.
fn objects(path: &str) -> BTreeMap<String, Value> {
    let documents = yaml::documents(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let kind = |object: &Value| {
        object
            .pointer("/kind")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    let count = documents.len();
    let found: BTreeMap<_, _> = documents.into_iter().map(|one| (kind(&one), one)).collect();
    assert_eq!(found.len(), count, "each kind once");
    found
}

fn words(list: Option<&Value>) -> BTreeSet<&str> {
    let items = list.and_then(Value::as_array).unwrap();
    items.iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn the_role_has_exactly_the_verbs_that_are_used() {
    let objects = objects("kubernetes/flowmon.yaml");
    let rules = objects["ClusterRole"]
        .pointer("/rules")
        .unwrap()
        .as_array()
        .unwrap();
    let mut rights = BTreeSet::new();
    for rule in rules {
        assert_eq!(rule.as_object().unwrap().len(), 3, "{rule}");
        for group in words(rule.get("apiGroups")) {
            for resource in words(rule.get("resources")) {
                for verb in words(rule.get("verbs")) {
                    rights.insert(format!("{verb} {group}/{resource}"));
                }
            }
        }
    }
    let used = flowmon::kubernetes::resources();
    let used = used.flat_map(|what| ["list", "watch"].map(|verb| format!("{verb} {what}")));
    assert_eq!(rights, used.collect());
    let binding = &objects["ClusterRoleBinding"];
    assert_eq!(binding.pointer("/roleRef/name"), Some(&json!("flowmon")));
    assert_eq!(
        binding.pointer("/subjects"),
        Some(&json!([{"kind": "ServiceAccount", "name": "flowmon", "namespace": "flowmon"}]))
    );
}

#[test]
fn the_daemon_set_has_what_a_daemon_keeps_and_no_more() {
    let objects = objects("kubernetes/flowmon.yaml");
    let pod = objects["DaemonSet"].pointer("/spec/template/spec").unwrap();
    let container = pod.pointer("/containers/0").unwrap();
    let security = container.get("securityContext").unwrap();
    assert_eq!(
        words(security.pointer("/capabilities/add")),
        BTreeSet::from(KEPT)
    );
    assert_eq!(
        words(security.pointer("/capabilities/drop")),
        BTreeSet::from(["ALL"])
    );
    for (field, value) in [
        ("privileged", false),
        ("allowPrivilegeEscalation", false),
        ("readOnlyRootFilesystem", true),
    ] {
        assert_eq!(security.get(field), Some(&json!(value)), "{field}");
    }
    // bpffs is the only host path that it may write to, and each mount has its volume.
    let volumes = pod.get("volumes").unwrap().as_array().unwrap();
    for mount in container.get("volumeMounts").unwrap().as_array().unwrap() {
        let of_it = |volume: &&Value| volume.get("name") == mount.get("name");
        let volume = volumes.iter().find(of_it).unwrap();
        if volume.pointer("/configMap/name") == Some(&json!("flowmon")) {
            assert!(objects.contains_key("ConfigMap"));
        } else {
            assert_eq!(volume.pointer("/hostPath/path"), mount.get("mountPath"));
        }
        let written = mount.get("readOnly") != Some(&json!(true));
        assert_eq!(
            written,
            mount.get("name") == Some(&json!("bpffs")),
            "{mount}"
        );
    }
    // It asks the API, as this node.
    let variables = container.get("env").unwrap();
    let is_set = |variable: &Value| {
        variable == &json!({"name": "FLOWMON_KUBERNETES", "value": "true"})
            || variable.get("name") == Some(&json!("FLOWMON_NODE_NAME"))
                && variable.pointer("/valueFrom/fieldRef/fieldPath")
                    == Some(&json!("spec.nodeName"))
    };
    let set = variables.as_array().unwrap().iter().filter(|it| is_set(it));
    assert_eq!(set.count(), 2, "{variables}");
    // Every variable is one of flowmon's.
    for variable in container.get("env").unwrap().as_array().unwrap() {
        let name = variable.get("name").unwrap().as_str().unwrap();
        assert!(name.starts_with("FLOWMON_"), "{name}");
    }
}

/// Is a daemon of these arguments content with what it is given, if this file is where they say?
fn is_content(args: &[&str], file: &str) {
    let name = format!("flowmon-content-{}.yaml", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, file).unwrap();
    let args = args.iter().map(|arg| match *arg {
        "/etc/flowmon/flowmon.yaml" => path.to_str().unwrap(),
        other => other,
    });
    let output = Command::new(env!("CARGO_BIN_EXE_flowmon"))
        .args(args)
        .arg("--check-config")
        .env_clear()
        .output()
        .unwrap();
    fs::remove_file(&path).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn all_that_is_shipped_starts_a_daemon_that_is_content() {
    let objects = objects("kubernetes/flowmon.yaml");
    let container = "/spec/template/spec/containers/0";
    let container = objects["DaemonSet"].pointer(container).unwrap();
    let args = container.get("args").and_then(Value::as_array).unwrap();
    let args: Vec<&str> = args.iter().map(|arg| arg.as_str().unwrap()).collect();
    let file = objects["ConfigMap"].pointer("/data/flowmon.yaml").unwrap();
    is_content(&args, file.as_str().unwrap());

    let shipped = read("flowmon.yaml");
    let image = read("container/Dockerfile");
    let args = image.lines().find_map(|line| line.strip_prefix("CMD "));
    let args: Vec<String> = serde_json::from_str(args.unwrap()).unwrap();
    is_content(
        &args.iter().map(String::as_str).collect::<Vec<_>>(),
        &shipped,
    );
    assert!(image.contains("/src/deploy/flowmon.yaml /etc/flowmon/flowmon.yaml"));

    let unit = read("systemd/flowmon.service");
    for command in ["ExecStart=", "ExecReload="] {
        let line = unit.lines().find_map(|line| line.strip_prefix(command));
        let args: Vec<&str> = line.unwrap().split(' ').skip(1).collect();
        let args: Vec<&str> = args
            .into_iter()
            .filter(|arg| *arg != "--check-config")
            .collect();
        is_content(&args, &shipped);
    }
}

#[test]
fn the_monitor_scrapes_what_the_daemon_set_serves() {
    let objects = objects("kubernetes/flowmon.yaml");
    let monitor = &self::objects("kubernetes/servicemonitor.yaml")["ServiceMonitor"];
    let (set, service) = (&objects["DaemonSet"], &objects["Service"]);
    let labels = set.pointer("/spec/template/metadata/labels");
    assert_eq!(set.pointer("/spec/selector/matchLabels"), labels);
    assert_eq!(service.pointer("/spec/selector"), labels);
    assert_eq!(
        monitor.pointer("/spec/selector/matchLabels"),
        service.pointer("/metadata/labels")
    );
    let port = set
        .pointer("/spec/template/spec/containers/0/ports/0")
        .unwrap();
    assert_eq!(monitor.pointer("/spec/endpoints/0/port"), port.get("name"));
    assert_eq!(
        service.pointer("/spec/ports/0/port"),
        port.get("containerPort")
    );
    for object in objects.values().chain([monitor]) {
        let is_ours = |pointer| {
            let name = object.pointer(pointer);
            name.is_none() || name == Some(&json!("flowmon"))
        };
        assert!(
            is_ours("/metadata/name") && is_ours("/metadata/namespace"),
            "{object}"
        );
    }
}

/// The unit, with a program that is there.
fn unit() -> PathBuf {
    let text = read("systemd/flowmon.service");
    let folder = std::env::temp_dir().join(format!("flowmon-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("flowmon.service");
    let here = text.replace("/usr/bin/flowmon", env!("CARGO_BIN_EXE_flowmon"));
    assert_ne!(here, text);
    fs::write(&path, here).unwrap();
    path
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_and_little_exposed() {
    let unit = unit();
    let path = unit.to_str().unwrap();
    let verified = tool("systemd-analyze", &["verify", "--man=no", path]);
    let Some(verified) = verified else { return };
    let of_ours = |output: &Output| {
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let lines = said.lines().filter(|line| line.contains("flowmon.service"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of_ours(&verified), Vec::<String>::new());
    // 10 is a service without any protection. eBPF, the host's network and root are worth the rest.
    let args = [
        "security",
        "--offline=true",
        "--threshold=30",
        "--no-pager",
        path,
    ];
    let judged = tool("systemd-analyze", &args).unwrap();
    fs::remove_dir_all(unit.parent().unwrap()).unwrap();
    assert!(
        judged.status.success(),
        "{}",
        String::from_utf8_lossy(&judged.stdout)
    );
}

#[test]
fn the_unit_has_what_a_daemon_keeps_and_no_more() {
    let text = read("systemd/flowmon.service");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = line
        .unwrap()
        .split(' ')
        .map(|name| name.trim_start_matches("CAP_"));
    assert_eq!(names.collect::<BTreeSet<_>>(), BTreeSet::from(KEPT));
}

/// Of a Dockerfile, what can be told without building it: stages and files are there.
#[test]
fn the_image_is_made_of_files_and_stages_that_there_are() {
    let text = read("container/Dockerfile").replace("\\\n", " ");
    let mut stages = BTreeSet::new();
    let mut instructions = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (instruction, rest) = line.split_once(' ').unwrap();
        let words: Vec<&str> = rest.split_whitespace().collect();
        instructions.push(instruction);
        match (instruction, words.as_slice()) {
            ("FROM", [_, "AS", stage]) => _ = stages.insert((*stage).to_owned()),
            ("FROM" | "WORKDIR" | "USER", [_]) => {}
            ("COPY", [from, _, _]) if from.starts_with("--from=") => {
                assert!(
                    stages.contains(from.trim_start_matches("--from=")),
                    "{line}"
                );
            }
            ("COPY", [from, _]) => assert!(deploy("..").join(from).exists(), "{line}"),
            ("RUN", ["./scripts/setup"]) => assert!(deploy("../scripts/setup").exists()),
            ("RUN", words) => assert!(words.contains(&"cargo"), "{line}"),
            ("ENTRYPOINT" | "CMD", _) => {
                assert!(serde_json::from_str::<Value>(rest).is_ok(), "{line}");
            }
            _ => panic!("not looked at: {line}"),
        }
    }
    assert!(instructions.contains(&"ENTRYPOINT"), "{instructions:?}");
}
