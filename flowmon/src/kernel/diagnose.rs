//! What this kernel and these privileges allow, found out by trying.

use super::{Datapath, Error, Frame, Hook, capability};
use crate::model::{Interface, InterfaceCounters, LinkLayer};

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What came of it.
    pub finding: Finding,
}

/// What came of a [`Check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It works; with a fact worth knowing.
    Works(String),
    /// It does not, and flowmon does without it as stated.
    Degraded(String),
    /// It does not, and flowmon can't watch here; with what to do.
    Missing(String),
    /// It could not be tried, for the reason stated.
    Unknown(String),
}

/// Tries everything `watch` needs, in a network namespace of its own: no interface of this host is
/// touched.
pub fn diagnose() -> Vec<Check> {
    let mut checks = vec![check("kernel", Finding::Works(release())), privileges()];
    let mut datapath = match Datapath::load(1024) {
        Ok(datapath) => datapath,
        Err(error) => {
            checks.push(check("load programs", Finding::Missing(error.to_string())));
            return checks;
        }
    };
    checks.push(loaded(&mut datapath));
    checks.push(run(&mut datapath));
    checks.extend(attach_elsewhere(datapath));
    checks
}

const fn check(name: &'static str, finding: Finding) -> Check {
    Check { name, finding }
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(
        |error| format!("unknown release ({error})"),
        |release| format!("Linux {}", release.trim()),
    )
}

fn privileges() -> Check {
    let missing = capability::missing();
    let finding = if missing.is_empty() {
        Finding::Works("CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON".to_owned())
    } else {
        Finding::Missing(format!(
            "{} missing: run flowmon as root, or give it these capabilities",
            missing.join(", ")
        ))
    };
    check("privileges", finding)
}

fn loaded(datapath: &mut Datapath) -> Check {
    let finding = match datapath.program_facts() {
        Ok(facts) => {
            let bytes = facts.iter().map(|fact| fact.jited_bytes).sum::<u32>();
            let most = facts
                .iter()
                .filter_map(|fact| fact.verified_instructions)
                .max();
            let verified = most.map_or_else(String::new, |n| {
                format!(", {n} instructions verified at most")
            });
            if bytes == 0 {
                Finding::Degraded(
                    "loaded, but the BPF JIT is off, so every packet costs many times more: \
                     sysctl net.core.bpf_jit_enable=1"
                        .to_owned(),
                )
            } else {
                Finding::Works(format!(
                    "{} programs, {bytes} bytes of machine code{verified}",
                    facts.len()
                ))
            }
        }
        Err(error) => Finding::Missing(error.to_string()),
    };
    check("load programs", finding)
}

/// An ARP request through the program: maps, counters and the drain all have their part.
fn run(datapath: &mut Datapath) -> Check {
    let mut frame = [0u8; 42];
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    let tried = (|| {
        datapath.register(1, 0)?;
        let outcome = datapath.run(
            "flowmon_tx",
            &Frame {
                bytes: &frame,
                ifindex: 1,
                gso_segments: 0,
                repeat: 1,
            },
        )?;
        let mut flows = 0;
        datapath.drain(|_| flows += 1)?;
        datapath.release(1, &[])?;
        Ok::<_, Error>((outcome, flows))
    })();
    let finding = match tried {
        Ok((_, 1)) => {
            Finding::Works("a frame through the program was counted and read back".to_owned())
        }
        Ok((_, flows)) => Finding::Missing(format!(
            "a frame through the program made {flows} flows instead of one: please report this"
        )),
        Err(error) => Finding::Unknown(format!("{error} (BPF_PROG_TEST_RUN)")),
    };
    check("count a frame", finding)
}

fn attach_elsewhere(mut datapath: Datapath) -> Vec<Check> {
    let attempts = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        let mut attempt = |hook| {
            let result = datapath.attach(&loopback(), Some(hook), 0);
            datapath.detach(1);
            result.map(drop)
        };
        Ok::<_, nix::Error>([attempt(Hook::Tcx), attempt(Hook::Clsact)])
    });
    let (tcx, clsact) = match attempts.join() {
        Ok(Ok([tcx, clsact])) => (tcx, clsact),
        Ok(Err(error)) => {
            let why = format!(
                "not tried: making a network namespace failed ({error}); it takes CAP_SYS_ADMIN"
            );
            return vec![check("attach", Finding::Unknown(why))];
        }
        Err(_) => {
            return vec![check(
                "attach",
                Finding::Unknown("the attempt died".to_owned()),
            )];
        }
    };
    let tcx_works = tcx.is_ok();
    vec![
        check(
            "attach by tcx",
            match tcx {
                Ok(()) => Finding::Works("first in the chain, gone with the process".to_owned()),
                Err(error) => Finding::Degraded(format!(
                    "clsact will be used ({error}; tcx came with Linux 6.6)"
                )),
            },
        ),
        check(
            "attach by clsact",
            match clsact {
                Ok(()) => Finding::Works("for kernels without tcx".to_owned()),
                Err(error) if tcx_works => {
                    Finding::Degraded(format!("not needed: tcx works ({error})"))
                }
                Err(error) => {
                    Finding::Missing(format!("{error}: load the modules sch_ingress and cls_bpf"))
                }
            },
        ),
    ]
}

/// The loopback interface of a new network namespace.
fn loopback() -> Interface {
    Interface {
        ifindex: 1,
        name: "lo".to_owned(),
        kind: None,
        master: None,
        link_layer: LinkLayer::Ethernet,
        up: false,
        peer: None,
        counters: InterfaceCounters::default(),
    }
}
