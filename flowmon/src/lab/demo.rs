//! A small network that is busy: four pods that talk to one another as applications do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::traffic::{dns_lookup, ping, tcp_connections, tcp_refused, tcp_transfer, udp_exchange};
use super::{Error, Lab, Pod};

/// The bridge's name, the one that CNI's bridge plugin uses.
const BRIDGE: &str = "cni0";

/// From the end of a round of traffic to the beginning of the next one.
const PAUSE: Duration = Duration::from_millis(300);

/// ICMP echo identifier of the demo's pings.
const PING_ID: u16 = 0x77;

/// A bridge `cni0` with the pods `web`, `api`, `cache` and `dns`, each with an IPv4 and an IPv6
/// address.
#[derive(Debug)]
pub struct DemoNetwork {
    lab: Lab,
    pods: Arc<Pods>,
}

#[derive(Debug)]
struct Pods {
    web: Pod,
    api: Pod,
    cache: Pod,
    dns: Pod,
}

impl DemoNetwork {
    /// Builds the network, which needs root.
    pub fn new() -> Result<Self, Error> {
        let lab = Lab::new(BRIDGE)?;
        let pod = |name, number| lab.add_pod(name, &lab.host(number));
        let pods = Pods {
            web: pod("web", 10)?,
            api: pod("api", 11)?,
            cache: pod("cache", 12)?,
            dns: pod("dns", 13)?,
        };
        Ok(Self {
            lab,
            pods: Arc::new(pods),
        })
    }

    /// The node and its bridge.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The four pods.
    pub fn pods(&self) -> [&Pod; 4] {
        let Pods {
            web,
            api,
            cache,
            dns,
        } = &*self.pods;
        [web, api, cache, dns]
    }

    /// Has the pods talk, about three rounds a second, until the handle is stopped or dropped.
    pub fn start_traffic(&self) -> Result<TrafficHandle, Error> {
        let pods = Arc::clone(&self.pods);
        let (open, closed) = mpsc::channel();
        let talk = move || {
            let mut rounds = 0;
            while closed.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                match pods.talk() {
                    Ok(()) => rounds += 1,
                    Err(error) => tracing::warn!(%error, "a round of demo traffic was cut short"),
                }
            }
            rounds
        };
        let thread = self.lab.node().spawn(talk)?;
        Ok(TrafficHandle {
            open: Some(open),
            thread: Some(thread),
        })
    }
}

impl Pods {
    /// One round: names looked up, requests, bulk data, datagrams, pings, and a mistake.
    fn talk(&self) -> Result<(), Error> {
        let Self {
            web,
            api,
            cache,
            dns,
        } = self;
        for (client, name, found) in [
            (web, "api.lab", api),
            (api, "cache.lab", cache),
            (cache, "web.lab", web),
        ] {
            let answer = found.ipv4().unwrap_or(Ipv4Addr::UNSPECIFIED);
            for server in sockets(dns, 53) {
                dns_lookup(&client.namespace, &dns.namespace, server, name, answer)?;
            }
        }
        for server in sockets(api, 8080) {
            tcp_connections(&web.namespace, &api.namespace, server, 3, 400, 12_000)?;
        }
        for server in sockets(cache, 6379) {
            tcp_transfer(&api.namespace, &cache.namespace, server, 2_000_000, 64)?;
            tcp_transfer(&api.namespace, &cache.namespace, server, 64, 1_000_000)?;
        }
        for server in sockets(web, 8125) {
            udp_exchange(&cache.namespace, &web.namespace, server, 10, 200, false)?;
            udp_exchange(&api.namespace, &web.namespace, server, 5, 1200, true)?;
        }
        for target in [api, cache, dns].iter().flat_map(|pod| &pod.addresses) {
            ping(&web.namespace, target.ip(), PING_ID, 2, 56)?;
        }
        for nobody in sockets(cache, 6380) {
            tcp_refused(&web.namespace, nobody)?;
        }
        Ok(())
    }
}

/// This port of the pod, on each of its addresses.
fn sockets(pod: &Pod, port: u16) -> impl Iterator<Item = SocketAddr> {
    pod.addresses
        .iter()
        .map(move |address| SocketAddr::new(address.ip(), port))
}

/// Traffic that goes on in the background. Dropping this stops it, too.
#[derive(Debug)]
pub struct TrafficHandle {
    /// Closing this channel is the signal to stop.
    open: Option<Sender<()>>,
    thread: Option<JoinHandle<u64>>,
}

impl TrafficHandle {
    /// Lets the round that is under way end, and returns how many were completed.
    pub fn stop(mut self) -> u64 {
        self.finish()
    }

    fn finish(&mut self) -> u64 {
        drop(self.open.take());
        self.thread
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for TrafficHandle {
    fn drop(&mut self) {
        self.finish();
    }
}
