//! What this kernel and these privileges allow, found out by trying.

use flowmon_common::Counter;

use super::{Datapath, Error, Frame, Hook, XdpMode, capability, xdp};
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
    let mut checks = vec![check("kernel", Finding::Works(release()))];
    checks.extend(privileges());
    let mut datapath = match Datapath::load(1024) {
        Ok(datapath) => datapath,
        Err(error) => {
            checks.push(check("load programs", Finding::Missing(error.to_string())));
            return checks;
        }
    };
    checks.push(loaded(&mut datapath));
    checks.extend(run(&mut datapath));
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

fn privileges() -> Vec<Check> {
    let missing = capability::missing();
    let told = capability::NEEDED.map(|(name, _, use_of_it)| {
        let finding = if missing.contains(&name) {
            Finding::Missing(format!(
                "{use_of_it}: run flowmon as root, or give it this capability"
            ))
        } else {
            Finding::Works(use_of_it.to_owned())
        };
        check(name, finding)
    });
    let unhelpful = capability::unhelpful();
    let helpful = capability::HELPFUL.map(|(name, _, use_of_it)| {
        let finding = if unhelpful.contains(&name) {
            Finding::Degraded(format!("without it nobody {use_of_it}"))
        } else {
            Finding::Works(use_of_it.to_owned())
        };
        check(name, finding)
    });
    told.into_iter().chain(helpful).collect()
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

/// An ARP request through the program, and what it left: maps, counters, ring buffer and the drain all
/// have their part.
fn run(datapath: &mut Datapath) -> Vec<Check> {
    let mut frame = [0u8; 42];
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    let frame = Frame {
        bytes: &frame,
        ifindex: 1,
        gso_segments: 0,
        repeat: 1,
    };
    let counted = (|| {
        datapath.register(1, 0)?;
        datapath.run("flowmon_tx", &frame)?;
        let totals = datapath.totals(1)?;
        let announced = datapath.counter(Counter::EventsLost)? == 0;
        Ok::<_, Error>((totals.tx.packets, announced))
    })();
    let mut flows = 0;
    let read = datapath.drain(|_| flows += 1);
    let released = datapath.release(1, &[]);
    let counted = match (counted, released) {
        (Ok(counted), Ok(())) => counted,
        (Err(error), _) | (_, Err(error)) => {
            let why = format!("{error} (BPF_PROG_TEST_RUN)");
            return vec![check("count a frame", Finding::Unknown(why))];
        }
    };
    let works = |it_does: bool, said: &str| {
        if it_does {
            Finding::Works(said.to_owned())
        } else {
            Finding::Missing("it did not: please report this".to_owned())
        }
    };
    vec![
        check(
            "count a frame",
            works(
                counted.0 == 1,
                "a frame through the program is in the totals",
            ),
        ),
        check(
            "announce a flow",
            works(counted.1, "by the ring buffer (Linux 5.8), at once"),
        ),
        check(
            "read all flows",
            match read {
                Ok(()) => works(flows == 1, "by batch (Linux 5.6), without changing them"),
                Err(error) => Finding::Missing(error.to_string()),
            },
        ),
    ]
}

fn attach_elsewhere(mut datapath: Datapath) -> Vec<Check> {
    let attempts = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
        let mut attempt = |hook| {
            let result = datapath.attach(&loopback(), Some(hook), 0);
            datapath.detach(1);
            result.map(drop)
        };
        let flows = [attempt(Hook::Tcx), attempt(Hook::Clsact)];
        let witness = xdp::attach(&mut datapath.ebpf, &loopback(), XdpMode::Skb);
        Ok::<_, nix::Error>((flows, witness.map(drop)))
    });
    let ([tcx, clsact], witness) = match attempts.join() {
        Ok(Ok(attempts)) => attempts,
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
        check(
            "attach by XDP",
            match witness {
                Ok(()) => Finding::Works("for `--xdp skb`".to_owned()),
                Err(error) => Finding::Degraded(format!(
                    "no `--xdp skb`, flows are watched all the same ({error}; XDP links came with \
                     Linux 5.9)"
                )),
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
