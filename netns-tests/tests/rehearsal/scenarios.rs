//! The project's own scenarios, as they are and broken.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use netns_tests::{flowmon, require_root};

use super::{Folder, Namespace, TestResult, played, policies};

/// As the GitHub example has it, by root, which `sudo` makes of who runs it.
#[test]
fn the_projects_scenarios_hold_by_real_traffic() -> TestResult {
    if !require_root("the_projects_scenarios_hold_by_real_traffic") {
        return Ok(());
    }
    let workflow = fs::read_to_string(policies().join("../deploy/ci/github.yml"))?;
    let lines = workflow
        .lines()
        .filter_map(|line| line.split_once("run: sudo "));
    let lines: Vec<&str> = lines.map(|(_, line)| line).collect();
    assert_eq!(lines, ["flowmon test policies"]);
    let (finished, cells, summary) = played(&policies().display().to_string())?;
    assert_eq!(finished.code, Some(0), "{summary} {}", finished.stderr);
    let untried: Vec<_> = cells
        .iter()
        .filter(|cell| cell["traffic"]["result"] != "seen")
        .collect();
    assert!(untried.is_empty(), "{untried:#?}");
    assert!(cells.len() >= 27);
    Ok(())
}

/// Each of these makes another connection of the recipe's scenario be judged otherwise.
const MUTANTS: [(&str, &str, &str); 4] = [
    (
        "default-deny",
        "policyTypes: [Ingress, Egress]",
        "policyTypes: [Egress]",
    ),
    ("default-deny", "k8s-app: kube-dns", "k8s-app: dns"),
    (
        "own-namespace",
        "        - podSelector: {}",
        "        - namespaceSelector: {}",
    ),
    ("own-namespace", "- port: metrics", "- port: 9100"),
];

#[test]
fn broken_policies_are_noticed_and_explained() -> TestResult {
    if !require_root("broken_policies_are_noticed_and_explained") {
        return Ok(());
    }
    let host = Namespace::new("host")?;
    let recipes = policies().join("recipes");
    for (name, whole, broken) in MUTANTS {
        let folder = Folder::new("broken")?;
        let read = |kind| fs::read_to_string(recipes.join(format!("{name}{kind}")));
        let policy = read(".yaml")?;
        assert!(policy.contains(whole), "{name}: {whole}");
        folder.file(&format!("{name}.yaml"), &policy.replacen(whole, broken, 1))?;
        let file = folder.file("it.scenario.yaml", &read(".scenario.yaml")?)?;
        let told = flowmon(&host, &["test", &file]);
        assert_eq!(told.code, Some(1), "{broken}: {}", told.stdout);
        let is_told = |line: &str| {
            let parts = [
                "FAIL ",
                "expected ",
                "it is ",
                "there and ",
                "it.scenario.yaml:",
            ];
            parts.iter().all(|part| line.contains(part))
        };
        assert!(told.stdout.lines().any(is_told), "{}", told.stdout);
        assert!(!told.stdout.contains("ERROR"), "{}", told.stdout);
    }
    Ok(())
}

/// Fifty pods, five hundred connections; `--static` says what is expected of them.
pub(super) fn crowd(folder: &Folder) -> Result<String, std::io::Error> {
    let mut scenario = String::from("policies: policy.yaml\npods:\n");
    for pod in 0..50 {
        let _infallible = writeln!(
            scenario,
            "  n{}/p{pod}: {{addresses: [10.20.0.{pod}, 'fd20::{pod}']}}",
            pod % 5
        );
    }
    scenario += "expect:\n";
    let ports = ["80", "8080", "53/udp", "3868/sctp", "icmp"];
    for cell in 0..500_usize {
        let (from, to) = (cell % 50, (cell * 7 + cell / 50 + 1) % 50);
        let to = if to == from { (to + 1) % 50 } else { to };
        let port = ports[cell / 100];
        let outcome = match (to % 5, port) {
            (0, "icmp") => "undecided",
            (0, _) => "denied",
            _ => "allowed",
        };
        let _infallible = writeln!(
            scenario,
            "  - {{from: n{}/p{from}, to: n{}/p{to}, port: {port}, expect: {outcome}}}",
            from % 5,
            to % 5
        );
    }
    folder.file(
        "policy.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: none, namespace: n0}\n\
         spec: {podSelector: {}}\n",
    )?;
    folder.file("crowd.scenario.yaml", &scenario)
}

#[test]
fn timing_fifty_pods_and_five_hundred_expectations() -> TestResult {
    if !require_root("timing_fifty_pods_and_five_hundred_expectations") {
        return Ok(());
    }
    let folder = Folder::new("crowd")?;
    let file = crowd(&folder)?;
    let began = Instant::now();
    let (finished, cells, summary) = played(&file)?;
    let took = began.elapsed();
    let bad = cells.iter().find(|cell| cell["met"] != true);
    assert_eq!(finished.code, Some(0), "{bad:?} {}", finished.stderr);
    // Over IPv4 and IPv6, but for the hundred of ICMP.
    assert_eq!((cells.len(), &summary["seen"]), (900, &900.into()));
    assert!(took < Duration::from_secs(15), "{took:?}");
    Ok(())
}
