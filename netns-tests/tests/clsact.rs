//! Watching by clsact: what flowmon adds goes with it, at the latest when the next one starts, and
//! nothing else does.

use std::error::Error;

use flowmon::lab::{Lab, Pod, traffic};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Watch, counted, flowmon, require_root, tool};
use nix::sys::signal::Signal;
use serde_json::json;

type TestResult = Result<(), Box<dyn Error>>;

const CLSACT: [&str; 4] = ["--iface", "vetha", "--hook", "clsact"];

struct Network {
    lab: Lab,
    pod: Pod,
}

impl Network {
    fn new() -> Result<Self, Box<dyn Error>> {
        let lab = Lab::with_gateways("cni0", &["10.77.0.1/16".parse()?])?;
        let pod = lab.add_pod_at("a", "vetha", &lab.host(2))?;
        Ok(Self { lab, pod })
    }

    fn watch(&self) -> Watch {
        Watch::start(self.lab.node(), &CLSACT)
    }

    fn tc(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        tool(self.lab.node(), "tc", &words)
    }

    /// The handles of flowmon's filters, both ways.
    fn ours(&self) -> Vec<String> {
        let mut handles = Vec::new();
        for way in ["ingress", "egress"] {
            let filters = self.tc(&format!("filter show dev vetha {way}"));
            handles.extend(
                filters
                    .lines()
                    .filter(|line| line.contains(" flowmon_"))
                    .filter_map(|line| line.split("handle ").nth(1)?.split(' ').next())
                    .map(str::to_owned),
            );
        }
        handles
    }

    fn has_qdisc(&self) -> bool {
        self.tc("qdisc show dev vetha").contains("clsact")
    }

    /// A flowmon that is killed; returns its filters, which stay.
    fn killed(&self) -> Vec<String> {
        let before = self.ours();
        let watch = self.watch();
        watch.signal(Signal::SIGKILL);
        assert_eq!(watch.ended().code, None);
        let mut left = self.ours();
        left.retain(|handle| !before.contains(handle));
        assert_eq!(left.len(), 2, "one each way");
        left
    }

    fn ping(&self, id: u16, count: u16) -> TestResult {
        let bridge = [10, 77, 0, 1].into();
        let answered = traffic::ping(&self.pod.namespace, bridge, id, count, 0)?;
        assert_eq!(answered, count);
        Ok(())
    }
}

fn pings(count: u64) -> Totals {
    let traffic = Traffic {
        packets: count,
        bytes: count * (14 + 20 + 8),
    };
    Totals {
        tx: traffic,
        rx: traffic,
    }
}

#[test]
fn what_a_killed_one_left_goes_when_the_next_one_starts() -> TestResult {
    if !require_root("what_a_killed_one_left_goes_when_the_next_one_starts") {
        return Ok(());
    }
    let network = Network::new()?;
    let left = network.killed();
    assert!(network.has_qdisc());
    let mut watch = Watch::spawn(network.lab.node(), &CLSACT);
    for _ in &left {
        watch.wait_for_stderr("removed a filter that a killed flowmon left on vetha");
    }
    watch.wait_for_stderr("watching");
    let ours = network.ours();
    assert_eq!(ours.len(), 2);
    assert!(ours.iter().all(|handle| !left.contains(handle)), "{ours:?}");
    network.ping(1, 3)?;
    let ended = watch.stop();
    ended.assert_clean();
    let flow = ended.said.one(&json!({"icmp": {"id": 1}}));
    assert_eq!(counted(flow), pings(3), "each was counted once");
    assert!(!network.has_qdisc(), "the killed one had added it");
    Ok(())
}

#[test]
fn the_next_one_need_not_use_clsact_itself() -> TestResult {
    if !require_root("the_next_one_need_not_use_clsact_itself") {
        return Ok(());
    }
    let network = Network::new()?;
    network.killed();
    Watch::start(network.lab.node(), &["--iface", "vetha"])
        .stop()
        .assert_clean();
    assert!(!network.has_qdisc());
    network.killed();
    let cleanup = flowmon(network.lab.node(), &["cleanup"]);
    assert_eq!(cleanup.code, Some(0), "{}", cleanup.stderr);
    assert_eq!(cleanup.stdout, "removed a filter from vetha\n".repeat(2));
    assert!(!network.has_qdisc());
    let cleanup = flowmon(network.lab.node(), &["cleanup"]);
    assert_eq!(cleanup.stdout, "nothing was left behind\n");
    Ok(())
}

#[test]
fn the_filters_of_a_live_one_stay() -> TestResult {
    if !require_root("the_filters_of_a_live_one_stay") {
        return Ok(());
    }
    let network = Network::new()?;
    let first = network.watch();
    let firsts = network.ours();
    let dead = network.killed();
    let second = network.watch();
    let ours = network.ours();
    assert_eq!(ours.len(), 4);
    assert!(firsts.iter().all(|handle| ours.contains(handle)));
    assert!(dead.iter().all(|handle| !ours.contains(handle)));
    network.ping(1, 3)?;

    let first = first.stop();
    assert_eq!(network.ours().len(), 2, "the second's");
    network.ping(2, 5)?;
    let second = second.stop();
    assert!(
        !network.has_qdisc(),
        "the last one takes along what the first one added"
    );
    for (ended, id, count) in [(&first, 1, 3), (&second, 1, 3), (&second, 2, 5)] {
        ended.assert_clean();
        let flow = ended.said.one(&json!({"icmp": {"id": id}}));
        assert_eq!(counted(flow), pings(count));
    }
    Ok(())
}

#[test]
fn what_is_of_others_stays() -> TestResult {
    const FILTER: &str =
        "filter add dev vetha egress pref 7 protocol ip u32 match u32 0 0 flowid 1:1";
    if !require_root("what_is_of_others_stays") {
        return Ok(());
    }
    // Their filter came after our qdisc.
    let network = Network::new()?;
    let watch = network.watch();
    network.tc(FILTER);
    watch.stop().assert_clean();
    assert!(network.has_qdisc());
    assert!(network.tc("filter show dev vetha egress").contains("u32"));

    // Their qdisc was there before, with nothing on it, and then with a filter that a killed
    // flowmon's are beside.
    let network = Network::new()?;
    network.tc("qdisc add dev vetha clsact");
    network.watch().stop().assert_clean();
    assert!(network.has_qdisc());
    network.tc(FILTER);
    let filter = network.tc("filter show dev vetha egress");
    network.killed();
    network.watch().stop().assert_clean();
    assert_eq!(network.ours(), Vec::<String>::new());
    assert_eq!(network.tc("filter show dev vetha egress"), filter);
    Ok(())
}

#[test]
fn an_ingress_qdisc_is_refused_with_a_remedy() -> TestResult {
    if !require_root("an_ingress_qdisc_is_refused_with_a_remedy") {
        return Ok(());
    }
    let network = Network::new()?;
    network.tc("qdisc add dev vetha ingress");
    let before = network.tc("qdisc show dev vetha");
    let mut watch = Watch::spawn(network.lab.node(), &CLSACT);
    let said = watch.wait_for_stderr("cannot attach to vetha by clsact");
    assert!(said.contains("tc qdisc del dev vetha ingress"), "{said}");
    watch.wait_for_stderr("watching");
    network.ping(1, 3)?;
    let ended = watch.stop();
    let lost = ended.said.summary.pointer("/lost/interfaces");
    assert_eq!(lost, Some(&json!(1)));
    assert_eq!(ended.said.summary.pointer("/complete"), Some(&json!(false)));
    assert_eq!(ended.said.sum("totals"), Totals::default());
    assert_eq!(network.tc("qdisc show dev vetha"), before);
    assert_eq!(network.tc("filter show dev vetha ingress"), "");

    // By tcx there is a place for both.
    let watch = Watch::start(network.lab.node(), &["--iface", "vetha", "--hook", "tcx"]);
    network.ping(2, 3)?;
    let ended = watch.stop();
    ended.assert_clean();
    assert_eq!(
        counted(ended.said.one(&json!({"icmp": {"id": 2}}))),
        pings(3)
    );
    Ok(())
}
