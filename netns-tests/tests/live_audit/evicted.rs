//! Questions and answers in a map that has no room for them: whose entry was evicted is made again by
//! whatever comes next, which may be the answer.

use std::{
    error::Error,
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use flowmon::lab::Pod;
use netns_tests::{Said, Watch, require_root};
use nix::{
    sys::{
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{Folder, Net, TestResult, address, declared, list};

const ROOM: u16 = 64;
const ASKED: u16 = 7000;
const ASKING: [u16; 3] = [5001, 5002, 5003];
const ROUNDS: usize = 8;
/// More than the ring has room for.
const MORE_THAN_IS_TOLD: u16 = 60_000;

/// A client that may ask a server, and nothing else is allowed to either; and one who floods, as it may.
struct Scene {
    net: Net,
    client: Pod,
    server: Pod,
    flooder: Pod,
    policies: String,
    inventory: String,
    _folder: Folder,
    asking: Vec<UdpSocket>,
    asked: UdpSocket,
}

impl Scene {
    fn new(test: &str) -> Result<Self, Box<dyn Error>> {
        let net = Net::new()?;
        let client = net.pod("client", 2)?;
        let server = net.pod("server", 3)?;
        let flooder = net.pod("flooder", 4)?;
        let folder = Folder::new(test)?;
        let policies = list(&[only("client", "Egress"), only("server", "Ingress")]);
        let policies = folder.put("policies.json", &policies)?;
        let pods = [
            ("client", &client),
            ("server", &server),
            ("flooder", &flooder),
        ];
        let pods = pods.map(|(name, pod)| declared("default", name, name, Some(address(pod))));
        let inventory = folder.put("pods.json", &list(&pods))?;
        let bind = |pod: &Pod, port| -> io::Result<UdpSocket> {
            let open = || UdpSocket::bind(SocketAddr::new(address(pod), port));
            let socket = pod.namespace.run(open).map_err(io::Error::other)??;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(socket)
        };
        let asking = ASKING.map(|port| bind(&client, port));
        Ok(Self {
            asking: asking.into_iter().collect::<io::Result<_>>()?,
            asked: bind(&server, ASKED)?,
            net,
            client,
            server,
            flooder,
            policies,
            inventory,
            _folder: folder,
        })
    }

    fn watch(&self) -> Watch {
        let pods = [&self.client, &self.server, &self.flooder];
        let room = ROOM.to_string();
        let mut args = vec!["--max-flows", &room];
        args.extend(["--policies", &self.policies, "--inventory", &self.inventory]);
        for pod in pods {
            args.extend(["--iface", &pod.interface]);
        }
        Watch::start(self.net.lab.node(), &args)
    }

    /// Everybody asks. Returns who is to be answered.
    fn ask(&self) -> io::Result<Vec<SocketAddr>> {
        let to = self.asked.local_addr()?;
        let asked = self.asking.iter().map(|socket| {
            socket.send_to(b"?", to)?;
            Ok(self.asked.recv_from(&mut [0; 8])?.1)
        });
        asked.collect()
    }

    fn answer(&self, whom: &[SocketAddr]) -> io::Result<()> {
        for (socket, whom) in self.asking.iter().zip(whom) {
            self.asked.send_to(b"!", whom)?;
            socket.recv(&mut [0; 8])?;
        }
        Ok(())
    }

    /// So many flows of one packet each, to the node.
    fn flood(&self, flows: u16) -> TestResult {
        let open = || UdpSocket::bind((address(&self.flooder), 0));
        let socket = self.flooder.namespace.run(open)??;
        for port in 1..=flows {
            match socket.send_to(b"?", (self.net.lab.host(1)[0].ip(), port)) {
                // The answer from a closed port is an error of a later sending.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                result => _ = result?,
            }
        }
        Ok(())
    }
}

/// The pods of an app may do this, with the others at the port that is asked, and nothing else.
fn only(app: &str, what: &str) -> Value {
    let mut policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": app, "namespace": "default"},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}},
            "policyTypes": ["Ingress", "Egress"],
        },
    });
    policy["spec"][what.to_lowercase()] = json!([{"ports": [{"protocol": "UDP", "port": ASKED}]}]);
    policy
}

/// What is said of questions and answers.
fn talked(said: &Said) -> Vec<&Value> {
    let is_theirs = |record: &&Value| {
        let ports = [&record["remote"]["port"], &record["local"]["port"]];
        record["protocol"] == json!("udp")
            && ports.contains(&&json!(ASKED))
            && ports
                .iter()
                .any(|port| ASKING.iter().any(|asking| **port == json!(asking)))
    };
    said.records.iter().filter(is_theirs).collect()
}

#[test]
fn an_answer_that_makes_an_evicted_entry_again_is_no_question() -> TestResult {
    let test = "an_answer_that_makes_an_evicted_entry_again_is_no_question";
    if !require_root(test) {
        return Ok(());
    }
    let scene = Scene::new(test)?;
    let watch = scene.watch();
    for _ in 0..ROUNDS {
        let whom = scene.ask()?;
        scene.flood(ROOM * 5)?;
        scene.answer(&whom)?;
        scene.flood(ROOM * 5)?;
    }
    let ended = watch.stop();
    let talked = talked(&ended.said);
    let evicted = talked
        .iter()
        .filter(|record| record["event"] == json!("end"));
    assert!(
        evicted.count() > ASKING.len() * 2 * ROUNDS,
        "too few were evicted"
    );
    for record in talked {
        let direction = match record["endpoint"]["name"].as_str() {
            Some("client") => "egress",
            _ => "ingress",
        };
        assert_eq!(record["direction"], json!(direction), "{record}");
        assert_eq!(record["verdict"]["outcome"], json!("allowed"), "{record}");
    }
    Ok(())
}

/// It was not told of the questions, and their entries are gone when it looks.
#[test]
fn an_answer_to_what_nobody_was_told_of_has_no_direction() -> TestResult {
    let test = "an_answer_to_what_nobody_was_told_of_has_no_direction";
    if !require_root(test) {
        return Ok(());
    }
    let scene = Scene::new(test)?;
    let watch = scene.watch();
    let pid = Pid::from_raw(i32::try_from(watch.pid())?);
    watch.signal(Signal::SIGSTOP);
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    scene.flood(MORE_THAN_IS_TOLD)?;
    let whom = scene.ask()?;
    scene.flood(ROOM * 5)?;
    scene.answer(&whom)?;
    watch.signal(Signal::SIGCONT);
    let ended = watch.stop();
    let talked = talked(&ended.said);
    assert!(!talked.is_empty());
    for record in talked {
        assert_eq!(record["direction"], json!("unknown"), "{record}");
        assert_eq!(
            record["verdict"]["reason"],
            json!("unknown-direction"),
            "{record}"
        );
    }
    Ok(())
}
