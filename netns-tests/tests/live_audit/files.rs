//! Policies and inventory that change while flows go on.

use std::{fs, io, os::unix::fs::symlink, path::PathBuf, process};

use flowmon::lab::Pod;
use netns_tests::{Watch, require_root};
use serde_json::{Value, json};

use crate::{Net, PORT, TestResult, declared, ingress, is, list, send};

/// A folder that is removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let name = format!("flowmon-live-{name}-{}", process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// Puts a file, all at once, and returns its path.
    pub(crate) fn put(&self, name: &str, text: &str) -> io::Result<String> {
        let (path, new) = (self.0.join(name), self.0.join(format!(".{name}.new")));
        fs::write(&new, text)?;
        fs::rename(&new, &path)?;
        Ok(path.display().to_string())
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is not worth a panic.
        let _left = fs::remove_dir_all(&self.0);
    }
}

struct Flowing {
    net: Net,
    blue: Pod,
    green: Pod,
    inventory: String,
    folder: Folder,
}

impl Flowing {
    fn new(name: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let net = Net::new()?;
        let (blue, green) = (net.pod("blue", 2)?, net.pod("green", 3)?);
        let folder = Folder::new(name)?;
        let pods = ["blue", "green"].map(|name| declared("default", name, name, None));
        let inventory = folder.put("pods.json", &list(&pods))?;
        Ok(Self {
            net,
            blue,
            green,
            inventory,
            folder,
        })
    }

    fn watch(&self, policies: &Folder) -> Watch {
        let policies = policies.path();
        let args = [
            "--iface",
            "cni0",
            "--policies",
            &policies,
            "--inventory",
            &self.inventory,
        ];
        Watch::start(self.net.lab.node(), &args)
    }

    fn send(&self) -> TestResult {
        send(&self.blue, &self.green)
    }
}

#[test]
fn a_changed_policy_changes_the_verdict_of_what_flows() -> TestResult {
    if !require_root("a_changed_policy_changes_the_verdict_of_what_flows") {
        return Ok(());
    }
    let flowing = Flowing::new("changed")?;
    let policies = Folder::new("changed-policies")?;
    policies.put("green.json", &ingress("green", &["blue"]))?;
    let mut watch = flowing.watch(&policies);
    flowing.send()?;
    let before = watch.wait_for_record(is(PORT, "allowed", "rule-matched"));

    policies.put("green.json", &ingress("green", &["red"]))?;
    let denied = watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));
    assert_eq!(denied["event"], json!("update"));
    assert_eq!(denied["endpoint"]["name"], json!("green"));
    assert_eq!(
        denied["first_seen"], before["first_seen"],
        "it is the same flow"
    );

    // A policy more, in a folder that was not there.
    fs::create_dir(policies.0.join("more"))?;
    let more = ingress("green", &["blue"]).replace("to-green", "more");
    fs::write(policies.0.join("more/more.json"), more)?;
    let allowed = watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    assert_eq!(allowed["verdict"]["policy"], json!("default/more"));

    // Green is another one now, and no policy is about it.
    let pods = ["blue", "green"].map(|name| declared("default", name, "other", None));
    flowing.folder.put("pods.json", &list(&pods))?;
    let green = |it: &Value| it["endpoint"]["name"] == json!("green");
    let free = is(PORT, "allowed", "not-isolated");
    let free = watch.wait_for_record(|it| {
        free(it) && green(it) && it["verdict"]["direction"] == json!("ingress")
    });
    assert_eq!(free["endpoint"]["labels"], json!({"app": "other"}));
    let ended = watch.stop();
    ended.assert_clean();
    let summary = &ended.said.summary;
    assert_eq!(
        summary["violations"],
        json!(0),
        "the last word counts: {summary}"
    );
    assert_eq!(summary["violation_groups"], json!([]));
    assert_eq!(summary["allowed"], json!(2));
    Ok(())
}

#[test]
fn what_cannot_be_used_leaves_the_last_policies_in_force() -> TestResult {
    if !require_root("what_cannot_be_used_leaves_the_last_policies_in_force") {
        return Ok(());
    }
    let flowing = Flowing::new("bad")?;
    let policies = Folder::new("bad-policies")?;
    policies.put("green.json", &ingress("green", &["red"]))?;
    let mut watch = flowing.watch(&policies);
    let wrong = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\nspec:\n  podSelektor: {}\n";
    policies.put("wrong.yaml", wrong)?;
    let complaint = watch.wait_for_stderr("wrong.yaml");
    assert!(complaint.contains("wrong.yaml:5"), "{complaint}");
    watch.wait_for_stderr("what was read before stays in force");
    flowing.send()?;
    watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));

    // It can be used again, and says so by the verdict.
    let right = ingress("green", &["blue"]).replace("to-green", "right");
    policies.put("wrong.yaml", &right)?;
    watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    // No policies at all are a mistake, too.
    fs::remove_file(policies.0.join("wrong.yaml"))?;
    watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));
    fs::remove_file(policies.0.join("green.json"))?;
    watch.wait_for_stderr("there is no policy");
    let ended = watch.stop();
    assert_eq!(ended.code, Some(1));
    ended.said.assert_complete();
    let summary = &ended.said.summary;
    assert_eq!(summary["policy_reload_failures"], json!(2), "{summary}");
    assert_eq!(summary["violations"], json!(1), "{summary}");
    Ok(())
}

/// As the kubelet puts a config map into a pod: files are links to `..data`, which is a link itself and
/// is replaced as a whole.
#[test]
fn a_config_map_is_followed() -> TestResult {
    if !require_root("a_config_map_is_followed") {
        return Ok(());
    }
    let flowing = Flowing::new("map")?;
    let policies = Folder::new("map-policies")?;
    let version = |name: &str, text: &str| -> io::Result<()> {
        let inside = policies.0.join(name);
        fs::create_dir(&inside)?;
        fs::write(inside.join("green.json"), text)?;
        symlink(name, policies.0.join("..data_tmp"))?;
        fs::rename(policies.0.join("..data_tmp"), policies.0.join("..data"))
    };
    version("..1", &ingress("green", &["blue"]))?;
    symlink("..data/green.json", policies.0.join("green.json"))?;
    let mut watch = flowing.watch(&policies);
    flowing.send()?;
    watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    version("..2", &ingress("green", &["red"]))?;
    fs::remove_dir_all(policies.0.join("..1"))?;
    watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));
    version("..3", &ingress("green", &["blue"]))?;
    watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    watch.stop().assert_clean();
    Ok(())
}

#[test]
fn a_folder_goes_and_another_comes() -> TestResult {
    if !require_root("a_folder_goes_and_another_comes") {
        return Ok(());
    }
    let flowing = Flowing::new("goes")?;
    let policies = Folder::new("goes-policies")?;
    policies.put("green.json", &ingress("green", &["blue"]))?;
    let mut watch = flowing.watch(&policies);
    flowing.send()?;
    watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    fs::remove_dir_all(&policies.0)?;
    watch.wait_for_stderr("what was read before stays in force");
    fs::create_dir(&policies.0)?;
    policies.put("green.json", &ingress("green", &["red"]))?;
    watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));
    let ended = watch.stop();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    ended.said.assert_complete();
    Ok(())
}

/// Its flow with another is still there, and it is as it was that it was sent to.
#[test]
fn who_is_gone_is_judged_as_who_it_was() -> TestResult {
    if !require_root("who_is_gone_is_judged_as_who_it_was") {
        return Ok(());
    }
    let flowing = Flowing::new("gone")?;
    let policies = Folder::new("gone-policies")?;
    let policy = |name: &str| {
        let green = json!({"podSelector": {"matchLabels": {"app": "green"}}});
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [green]}]},
        });
        policy.to_string()
    };
    policies.put("policy.json", &policy("one"))?;
    let mut watch = flowing.watch(&policies);
    flowing.send()?;
    let judged_by = |name: &str| {
        let allowed = is(PORT, "allowed", "rule-matched");
        let name = json!(format!("default/{name}"));
        move |it: &Value| allowed(it) && it["verdict"]["policy"] == name
    };
    watch.wait_for_record(judged_by("one"));
    let Flowing {
        net,
        green,
        folder,
        inventory: _,
        blue: _blue,
    } = flowing;
    let interface = |it: &Value| it["endpoint"]["interface"].clone();
    let gone = json!(green.interface);
    net.lab.remove_pod(green)?;
    watch.wait_for_record(|it| it["event"] == json!("end") && interface(it) == gone);
    let left = [declared("default", "blue", "blue", None)];
    folder.put("pods.json", &list(&left))?;
    policies.put("policy.json", &policy("two"))?;
    watch.wait_for_record(judged_by("two"));
    watch.stop().assert_clean();
    Ok(())
}
