//! What flowmon measures of a flow's way: round trips, losses, silence.
//!
//! What it is compared with: the timestamps of a capture on the same veth, `ping`, `ss -ti`, the
//! counters of the sender's TCP, and a wire of the test's own that delays and loses what it is told
//! to. What compares times runs alone: its name begins with `timing_`.

mod delay;
mod echo;
mod handshake;
mod loss;
mod names;
mod silence;
mod summary;

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use flowmon::lab::{Lab, Pod};
use flowmon_common::{Totals, Traffic};
use netns_tests::{Forwarder, Heading, Said, Watch, interface_counters};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two pods on a bridge.
struct Pair {
    lab: Lab,
    near: Pod,
    far: Pod,
    _wire: Option<Forwarder>,
}

impl Pair {
    /// Next to each other.
    fn close() -> Result<Self, Box<dyn Error>> {
        let lab = Lab::new("cni0")?;
        let pair = Self {
            near: lab.add_pod("near", &lab.host(2))?,
            far: lab.add_pod("far", &lab.host(3))?,
            lab,
            _wire: None,
        };
        pair.settle()
    }

    /// With a wire between `far` and its veth on the node: see [`Forwarder`].
    fn apart(
        delay: Duration,
        loses: impl FnMut(Heading, &[u8]) -> bool + Send + 'static,
    ) -> Result<Self, Box<dyn Error>> {
        let lab = Lab::new("cni0")?;
        let near = lab.add_pod("near", &lab.host(2))?;
        Forwarder::send_frames(&near);
        let (far, wire) = Forwarder::add_pod(&lab, "far", &lab.host(3), delay, loses);
        let pair = Self {
            near,
            far,
            lab,
            _wire: Some(wire),
        };
        pair.settle()
    }

    fn settle(self) -> Result<Self, Box<dyn Error>> {
        for pod in [&self.near, &self.far] {
            let namespace = &pod.namespace;
            // Neighbours, once known, are not asked again whether they are still there.
            namespace.set_sysctl("net/ipv4/neigh/eth0/delay_first_probe_time", "3600")?;
            // Nor does a peer that is late get sent what it has already (RFC 8985, section 7).
            namespace.set_sysctl("net/ipv4/tcp_early_retrans", "0")?;
        }
        Ok(self)
    }

    /// Watches both pods.
    fn watch(&self) -> Watch {
        Watch::start(self.lab.node(), &["--iface", self.lab.bridge()])
    }
}

/// A port of a pod's IPv4 address.
fn port_of(pod: &Pod, port: u16) -> Result<SocketAddr, Box<dyn Error>> {
    Ok(SocketAddr::new(
        pod.ipv4().ok_or("it has one")?.into(),
        port,
    ))
}

/// Ends a watch, of which nothing may be missing.
fn end(watch: Watch) -> Said {
    let ended = watch.stop();
    ended.assert_clean();
    ended.said
}

/// A pod's only flow between these two addresses.
fn flow_at<'a>(
    said: &'a Said,
    pod: &Pod,
    protocol: &str,
    local: SocketAddr,
    remote: SocketAddr,
) -> &'a Value {
    let side = |address: SocketAddr| json!({"ip": address.ip(), "port": address.port()});
    said.one(&json!({
        "endpoint": {"ifindex": pod.ifindex},
        "protocol": protocol,
        "local": side(local),
        "remote": side(remote),
    }))
}

/// A number of a record.
fn number(record: &Value, pointer: &str) -> Result<f64, Box<dyn Error>> {
    let value = record.pointer(pointer).and_then(Value::as_f64);
    Ok(value.ok_or_else(|| format!("no {pointer} in {record}"))?)
}

/// A count of a record; nothing is said of what has not happened.
fn count(record: &Value, pointer: &str) -> Option<u64> {
    match record.pointer(pointer) {
        None => Some(0),
        Some(value) => value.as_u64(),
    }
}

/// What has crossed a pod's veth since `before`.
fn crossed(lab: &Lab, pod: &Pod, before: Totals) -> Totals {
    let now = interface_counters(lab.node(), pod);
    let since = |now: Traffic, before: Traffic| Traffic {
        packets: now.packets - before.packets,
        bytes: now.bytes - before.bytes,
    };
    Totals {
        tx: since(now.tx, before.tx),
        rx: since(now.rx, before.rx),
    }
}

/// A connection that is open.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn open(client: &Pod, server: &Pod) -> Result<Self, Box<dyn Error>> {
        let address = port_of(server, 0)?;
        let listener = server.namespace.run(|| TcpListener::bind(address))??;
        let address = listener.local_addr()?;
        let connect = || TcpStream::connect_timeout(&address, PATIENCE);
        let client = client.namespace.run(connect)??;
        let (server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
        }
        Ok(Self { client, server })
    }

    /// Questions and answers, one at a time.
    fn talk(&mut self, rounds: usize) -> TestResult {
        let mut message = [b'.'; 100];
        for _ in 0..rounds {
            self.client.write_all(&message)?;
            self.server.read_exact(&mut message)?;
            self.server.write_all(&message)?;
            self.client.read_exact(&mut message)?;
        }
        Ok(())
    }

    /// Closes it; its ends were at these addresses, the client's first.
    fn close(self) -> Result<(SocketAddr, SocketAddr), Box<dyn Error>> {
        Ok((self.client.local_addr()?, self.server.local_addr()?))
    }
}
