//! Whose process it is, by its control group: the runtimes' layouts, in cgroup v1, v2 and hybrid.

use std::sync::Arc;

use super::text::clean_some;

/// What a control group's path says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Who runs the container, where the path says so.
    pub(super) runtime: Option<&'static str>,
    /// The runtime's id of the container.
    pub(super) container: Arc<str>,
    /// Namespace and name, where the path has those instead of an id.
    pub(super) name: Option<(Arc<str>, Arc<str>)>,
    /// What it is part of.
    pub(super) pod: Option<Pod>,
    /// Path components: a container in a container has more.
    pub(super) depth: usize,
}

/// A pod, as control groups name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pod {
    /// Kubernetes' UID, with hyphens; or, of a static pod, the hash that the kubelet takes for one.
    Kubernetes(Arc<str>),
    /// Podman's id.
    Podman(Arc<str>),
}

/// Prefixes of systemd scopes, and whose they are.
const SCOPES: [(&str, &str); 5] = [
    ("docker", "docker"),
    ("cri-containerd", "containerd"),
    ("crio", "cri-o"),
    ("libpod", "podman"),
    ("nerdctl", "containerd"),
];

/// Characters in a container's id.
const ID: usize = 64;

/// Reads `/proc/PID/cgroup` (`cgroups(7)`): in hybrid set-ups only some of the hierarchies have
/// the container. An id is nobody else's; what looks like a name may be a group of the host's.
pub(super) fn parse(file: &str) -> Option<Cgroup> {
    file.lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter_map(parse_path)
        .min_by_key(|cgroup| cgroup.name.is_some())
}

/// The last container that the path names is the process's own: pods of Podman and containers in
/// containers have others before it.
fn parse_path(path: &str) -> Option<Cgroup> {
    let components: Vec<&str> = path
        .split('/')
        .filter(|component| !component.is_empty())
        .collect();
    let mut found: Option<Cgroup> = None;
    let mut pod = None;
    // The component before, if it is an id and nothing else.
    let mut parent: Option<&str> = None;
    // A unit's name with colons is what a cgroupfs runtime makes of systemd's notation.
    for component in components.iter().flat_map(|component| component.split(':')) {
        let name = component
            .strip_suffix(".scope")
            .or_else(|| component.strip_suffix(".slice"))
            .unwrap_or(component);
        if let Some(id) = name.strip_prefix("machine-libpod_pod_").filter(is_id) {
            pod = Some(Pod::Podman(id.into()));
        } else if let Some(uid) = kubernetes_uid(name) {
            pod = Some(Pod::Kubernetes(uid));
        } else if let Some((prefix, id)) = prefixed_id(name) {
            if prefix.ends_with("conmon") {
                return None; // Podman's and CRI-O's monitor, on the host's side
            }
            let scope = SCOPES.iter().find(|(scope, _)| *scope == prefix);
            let runtime = scope.map(|(_, runtime)| *runtime);
            // With cgroupfs, the parent of a pod of Podman's has nothing but its id for a name.
            if let (Some("podman"), Some(parent)) = (runtime, parent) {
                pod = Some(Pod::Podman(parent.into()));
            }
            found = Some(Cgroup {
                runtime: runtime.or_else(|| parent_runtime(&components)),
                container: id.into(),
                name: None,
                pod: None,
                depth: components.len(),
            });
        }
        parent = Some(name).filter(is_id);
    }
    match found {
        Some(cgroup) => Some(Cgroup { pod, ..cgroup }),
        None => named(&components),
    }
}

/// Runtimes whose cgroupfs layout is their name.
fn parent_runtime(components: &[&str]) -> Option<&'static str> {
    match components {
        ["docker", _] | ["ecs", ..] => Some("docker"),
        _ => None,
    }
}

/// `prefix-ID`, or an id by itself.
fn prefixed_id(name: &str) -> Option<(&str, &str)> {
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID)?)?;
    let prefix = if prefix.is_empty() {
        prefix
    } else {
        prefix.strip_suffix('-')?
    };
    is_id(&id).then_some((prefix, id))
}

fn is_id(text: &&str) -> bool {
    text.len() == ID && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `pod` and a UID at the end of the name. systemd's names have underscores where UIDs have
/// hyphens.
fn kubernetes_uid(name: &str) -> Option<Arc<str>> {
    let at = name.rfind("pod")?;
    let (before, uid) = (name.get(..at)?, name.get(at + 3..)?);
    if !(before.is_empty() || before.ends_with('-')) {
        return None;
    }
    let uid = uid.replace('_', "-");
    let is_uuid = uid.len() == 36
        && uid.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && uid.split('-').all(is_hex);
    let is_hash = uid.len() == 32 && is_hex(&uid);
    (is_uuid || is_hash).then(|| uid.into())
}

/// Containers that are called by a name.
fn named(components: &[&str]) -> Option<Cgroup> {
    let (runtime, namespace, name) = match components {
        [first, ..] if first.starts_with("lxc.payload.") => {
            ("lxc", "default", first.strip_prefix("lxc.payload.")?)
        }
        ["machine.slice", unit, "payload", ..] => (
            "systemd-nspawn",
            "default",
            unit.strip_prefix("machine-")?.strip_suffix(".scope")?,
        ),
        // containerd's own clients: its namespace, and the name they chose.
        [namespace, name] if !is_unit(namespace) && !is_unit(name) && *namespace != "kubepods" => {
            ("containerd", *namespace, *name)
        }
        _ => return None,
    };
    let name = clean_some(name)?;
    Some(Cgroup {
        runtime: Some(runtime),
        container: Arc::clone(&name),
        name: Some((clean_some(namespace)?, name)),
        pod: None,
        depth: components.len(),
    })
}

/// systemd's units, and the processes of a container that runs systemd.
fn is_unit(name: &str) -> bool {
    [".slice", ".scope", ".service", ".mount", ".socket"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use proptest::prelude::*;

    const CONTAINER: &str = "3f2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b";
    const OTHER: &str = "62ba1deea97553be7976f6ff5451df1f9bdd889afbb63310e6ebf7c2a1d801b7";
    const UID: &str = "5b0b8f0e-1111-4c2e-9d3a-0000000000a1";
    const HASH: &str = "5b0b8f0e11114c2e9d3a0000000000a1";

    type Layout = (
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
        Option<&'static str>,
    );

    /// The layouts that runtimes document, as the kernel reads them back: `{C}` stands for the
    /// container's id, `{O}` for another, `{U}` for the pod's UID, `{S}` for systemd's spelling of
    /// it, `{H}` for a static pod's hash. Expected: runtime, container, pod.
    #[rustfmt::skip]
    const LAYOUTS: [Layout; 32] = [
        ("/docker/{C}", Some("docker"), Some(CONTAINER), None),
        ("/system.slice/docker-{C}.scope", Some("docker"), Some(CONTAINER), None),
        ("/myparent/{C}", None, Some(CONTAINER), None),
        ("/kubepods/besteffort/pod{U}/{C}", None, Some(CONTAINER), Some(UID)),
        ("/kubepods/burstable/pod{U}/{C}", None, Some(CONTAINER), Some(UID)),
        ("/kubepods/pod{U}/{C}", None, Some(CONTAINER), Some(UID)),
        ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{S}.slice/cri-containerd-{C}.scope", Some("containerd"), Some(CONTAINER), Some(UID)),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{S}.slice/cri-containerd-{C}.scope", Some("containerd"), Some(CONTAINER), Some(UID)),
        ("/kubepods.slice/kubepods-pod{S}.slice/cri-containerd-{C}.scope", Some("containerd"), Some(CONTAINER), Some(UID)),
        ("/system.slice/containerd.service/kubepods-besteffort-pod{S}.slice:cri-containerd:{C}", None, Some(CONTAINER), Some(UID)),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{S}.slice/crio-{C}.scope", Some("cri-o"), Some(CONTAINER), Some(UID)),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{S}.slice/crio-{C}.scope/container", Some("cri-o"), Some(CONTAINER), Some(UID)),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{S}.slice/crio-conmon-{C}.scope", None, None, None),
        ("/kubepods/burstable/pod{U}/crio-{C}", Some("cri-o"), Some(CONTAINER), Some(UID)),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{S}.slice/docker-{C}.scope", Some("docker"), Some(CONTAINER), Some(UID)),
        ("/kubepods/burstable/pod{U}/{C}", None, Some(CONTAINER), Some(UID)), // cri-dockerd
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{H}.slice/cri-containerd-{C}.scope", Some("containerd"), Some(CONTAINER), Some(HASH)),
        ("/docker/{O}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{S}.slice/cri-containerd-{C}.scope", Some("containerd"), Some(CONTAINER), Some(UID)), // kind
        ("/kubepods/besteffort/pod{U}/{C}", None, Some(CONTAINER), Some(UID)), // k3s
        ("/libpod_parent/libpod-{C}", Some("podman"), Some(CONTAINER), None),
        ("/libpod_parent/{O}/libpod-{C}", Some("podman"), Some(CONTAINER), Some(OTHER)),
        ("/machine.slice/libpod-{C}.scope", Some("podman"), Some(CONTAINER), None),
        ("/machine.slice/libpod-{C}.scope/container", Some("podman"), Some(CONTAINER), None),
        ("/machine.slice/machine-libpod_pod_{O}.slice/libpod-{C}.scope", Some("podman"), Some(CONTAINER), Some(OTHER)),
        ("/machine.slice/libpod-conmon-{C}.scope", None, None, None),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{C}.scope", Some("podman"), Some(CONTAINER), None),
        ("/default/infc1", Some("containerd"), Some("infc1"), None),
        ("/system.slice/nerdctl-{C}.scope", Some("containerd"), Some(CONTAINER), None),
        ("/lxc.payload.c1", Some("lxc"), Some("c1"), None),
        ("/machine.slice/machine-c1.scope/payload", Some("systemd-nspawn"), Some("c1"), None),
        ("/ecs/0123456789abcdef0123456789abcdef/{C}", Some("docker"), Some(CONTAINER), None),
        ("/docker/{O}/docker/{C}", None, Some(CONTAINER), None), // Docker in Docker
    ];

    fn written_out(path: &str) -> String {
        path.replace("{C}", CONTAINER)
            .replace("{O}", OTHER)
            .replace("{U}", UID)
            .replace("{S}", &UID.replace('-', "_"))
            .replace("{H}", HASH)
    }

    fn read(file: &str) -> (Option<&'static str>, Option<String>, Option<String>) {
        let Some(cgroup) = parse(file) else {
            return (None, None, None);
        };
        let pod = cgroup.pod.map(|pod| match pod {
            Pod::Kubernetes(id) | Pod::Podman(id) => id.to_string(),
        });
        (cgroup.runtime, Some(cgroup.container.to_string()), pod)
    }

    #[test]
    fn every_runtimes_layout_in_every_version() {
        for (path, runtime, container, pod) in LAYOUTS {
            let path = written_out(path);
            let expected = (
                runtime,
                container.map(str::to_owned),
                pod.map(str::to_owned),
            );
            // v1 has one line for each controller, hybrid both kinds, v2 a single one.
            let v1 = format!("8:pids:{path}\n1:name=systemd:{path}\n");
            let hybrid = format!("8:pids:{path}\n0::/\n");
            let unified = format!("8:pids:/\n0::{path}\n");
            let v2 = format!("0::{path}\n");
            for file in [v1, hybrid, unified, v2] {
                assert_eq!(read(&file), expected, "{file}");
            }
        }
    }

    #[test]
    fn a_group_of_the_hosts_does_not_hide_the_container() {
        let file = format!("4:memory:/sandbox/bd26f5\n0::/libpod_parent/libpod-{CONTAINER}\n");
        assert_eq!(read(&file).1.as_deref(), Some(CONTAINER));
    }

    #[test]
    fn a_path_from_inside_a_cgroup_namespace() {
        let file = format!("0::/../../docker/{CONTAINER}\n");
        assert_eq!(read(&file).1.as_deref(), Some(CONTAINER));
    }

    #[test]
    fn a_container_in_a_container_is_deeper() {
        let depth = |path: &str| parse_path(&written_out(path)).unwrap().depth;
        assert!(depth("/docker/{C}") < depth("/docker/{O}/kubelet.slice/cri-containerd-{C}.scope"));
    }

    #[test]
    fn the_hosts_own_processes_are_nobodys() {
        for path in [
            "/",
            "/init.scope",
            "/system.slice/sshd.service",
            "/user.slice/user-0.slice/session-1.scope",
            "/kubepods/besteffort",
            "/system.slice/containerd.service",
            "/machine.slice/machine-c1.scope", // nspawn's own process
        ] {
            assert_eq!(parse(&format!("0::{path}\n")), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            let _anything = parse(&text);
            let _anything = parse_path(&text);
        }
    }
}
