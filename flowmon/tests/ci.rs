//! The examples for CI systems (`deploy/ci`) work: what they run is run here, by a shell, in a repository
//! with policies.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

#[path = "support/yaml.rs"]
mod yaml;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(root().join("deploy/ci").join(name)).unwrap();
    let mut documents = yaml::documents(&text).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// A repository: the web shop, its policies in `policies/`, as they are or with one of them broken.
struct Repository(PathBuf);

impl Repository {
    fn new(test: &str, breaks: Option<(&str, &str)>) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ci").join(test);
        // What an earlier run left.
        let _absent = fs::remove_dir_all(&folder);
        let inside = folder.join("policies/webshop");
        fs::create_dir_all(&inside).unwrap();
        let policies = root().join("policies");
        for entry in fs::read_dir(policies.join("webshop")).unwrap() {
            let path = entry.unwrap().path();
            let mut policy = fs::read_to_string(&path).unwrap();
            if let Some((right, wrong)) = breaks {
                policy = policy.replace(right, wrong);
            }
            fs::write(inside.join(path.file_name().unwrap()), policy).unwrap();
        }
        let scenario = "webshop.scenario.yaml";
        fs::copy(
            policies.join(scenario),
            folder.join("policies").join(scenario),
        )
        .unwrap();
        Self(folder)
    }

    /// Runs lines as GitHub does: all of them, until one fails.
    fn run(&self, lines: &str) -> Output {
        let flowmon = Path::new(env!("CARGO_BIN_EXE_flowmon"));
        let mut path = flowmon.parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(env::var_os("PATH").unwrap());
        Command::new("bash")
            .args(["-e", "-c", lines])
            .current_dir(&self.0)
            .env("PATH", path)
            .env("GITHUB_STEP_SUMMARY", self.0.join("summary.md"))
            .output()
            .unwrap()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

/// What the steps of the GitHub example run, by name, but for how flowmon gets there.
fn github() -> Vec<(String, String)> {
    let workflow = read("github.yml");
    let steps = workflow["jobs"]["policies"]["steps"].as_array().unwrap();
    let text = |step: &Value, key: &str| step[key].as_str().map(str::to_owned);
    let found: Vec<_> = steps
        .iter()
        .filter_map(|step| Some((text(step, "name")?, text(step, "run")?)))
        .filter(|(name, _)| name != "Get flowmon")
        .collect();
    assert_eq!(found.len(), 5);
    // With real packets: namespace tests run that, with the privileges that it takes.
    let needs_root = |(_, run): &(String, String)| run == "sudo flowmon test policies";
    let (root, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(needs_root);
    assert_eq!(root.len(), 1);
    rest
}

#[test]
fn the_github_example_passes_what_is_in_order() {
    let repository = Repository::new("github", None);
    for (name, lines) in github() {
        let output = repository.run(&lines);
        assert!(output.status.success(), "{name}: {output:?}");
    }
    let summary = repository.text("summary.md");
    assert!(summary.starts_with("### Policies do what is expected: "));
    assert!(repository.text("policies.xml").contains("failures=\"0\""));
}

#[test]
fn the_github_example_fails_and_tells_what_is_broken() {
    let repository = Repository::new("github-broken", Some(("- port: 6379", "- port: 6380")));
    let failed: Vec<String> = github()
        .into_iter()
        .filter(|(_, lines)| !repository.run(lines).status.success())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        failed,
        [
            "Do they do what scenarios say?",
            "Would the scenarios notice if they did not?"
        ]
    );
    let summary = repository.text("summary.md");
    for part in [
        "### Policies: ",
        " not met\n",
        "webshop/api -&#62; webshop/redis-0, 6379: expected allowed, it is denied</summary>",
        "    denied: ",
        "| <code>policies/webshop.scenario.yaml</code> |",
    ] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    assert!(!repository.text("policies.xml").contains("failures=\"0\""));
}

#[test]
fn the_gitlab_example_does_too() {
    let job = read("gitlab-ci.yml");
    let lines = |key: &str| {
        let lines = job["policies"][key].as_array().unwrap();
        let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
        lines.join("\n")
    };
    for (test, breaks, passes) in [
        ("gitlab", None, true),
        (
            "gitlab-broken",
            Some(("- port: 6379", "- port: 6380")),
            false,
        ),
    ] {
        let repository = Repository::new(test, breaks);
        let output = repository.run(&lines("script"));
        assert_eq!(output.status.success(), passes, "{output:?}");
        let output = repository.run(&lines("after_script"));
        assert!(output.status.success(), "{output:?}");
        let report = job["policies"]["artifacts"]["reports"]["junit"].as_str();
        let xml = repository.text(report.unwrap());
        assert_eq!(xml.contains("failures=\"0\""), passes);
    }
}

#[test]
fn nothing_in_a_scenario_gets_out_of_the_summary() {
    let repository = Repository::new("evil", None);
    let scenario = "policies: webshop
pods:
  a/c: {}
outside:
  'x|<b>`': 203.0.113.7
expect:
  - {from: 'x|<b>`', to: a/c, port: 80, expect: denied}
";
    fs::write(
        repository.0.join("policies/webshop.scenario.yaml"),
        scenario,
    )
    .unwrap();
    let output = repository.run("flowmon test --static policies --output markdown");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("x&#124;&#60;b&#62;&#96; -&#62; a/c"),
        "{text}"
    );
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        assert!(!line.contains("<b>") && !line.contains('`'), "{line}");
    }
}
