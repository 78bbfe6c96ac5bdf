//! A wire that takes its time and loses what it is told to: netem without a kernel that has it.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use flowmon::lab::{self, Lab, Namespace, Pod};
use ipnetwork::IpNetwork;
use socket2::Socket;

use crate::{raw::open, tool};

/// Larger than any frame.
const FRAME: usize = 1 << 16;

/// Which way a frame goes along the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    /// To the pod at its end.
    ToPod,
    /// From it.
    FromPod,
}

/// The wire between a veth of the node and the pod behind it: threads of the test that read each
/// frame at one end and, unless they lose it, write it at the other end a while later.
#[derive(Debug)]
pub struct Forwarder {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _node_end: Namespace,
    _pod_end: Lab,
}

/// A frame, and when it comes out.
type Due = (Instant, Vec<u8>);

impl Forwarder {
    /// Adds a pod to `lab` at the end of a wire that holds every frame for `delay` and loses those
    /// that `loses` says. What is sent at either end must be frames as they are on the wire: see
    /// [`Self::send_frames`]; that pod's are.
    ///
    /// # Panics
    ///
    /// When it can't be done.
    pub fn add_pod(
        lab: &Lab,
        name: &str,
        addresses: &[IpNetwork],
        delay: Duration,
        loses: impl FnMut(Heading, &[u8]) -> bool + Send + 'static,
    ) -> (Pod, Self) {
        let build = || -> Result<_, lab::Error> {
            let at_node = lab.add_pod(name, &[])?;
            // A bridge with nothing but this pod: it passes nothing on, and is silent.
            let beyond = Lab::with_gateways("beyond", &[])?;
            let pod = beyond.add_pod(name, addresses)?;
            Ok((at_node, beyond, pod))
        };
        let (at_node, beyond, far) = build().unwrap_or_else(|error| panic!("the wire: {error}"));
        Self::send_frames(&far);
        let node_end = Arc::new(open(&at_node.namespace, "eth0"));
        let pod_end = Arc::new(open(beyond.node(), &far.interface));
        let ends = Arc::new(AtomicBool::new(false));
        let loses = Arc::new(Mutex::new(loses));
        let mut threads = Vec::new();
        for (heading, from, to) in [
            (Heading::ToPod, &node_end, &pod_end),
            (Heading::FromPod, &pod_end, &node_end),
        ] {
            let (send, due) = channel();
            let (ends, loses) = (Arc::clone(&ends), Arc::clone(&loses));
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            threads.push(thread::spawn(move || {
                let is_lost = |frame: &[u8]| {
                    let mut loses = loses.lock().unwrap_or_else(PoisonError::into_inner);
                    loses(heading, frame)
                };
                take(&from, delay, is_lost, &send, &ends);
            }));
            threads.push(thread::spawn(move || release(&due, &to)));
        }
        let pod = Pod {
            name: name.into(),
            namespace: far.namespace,
            interface: at_node.interface,
            ifindex: at_node.ifindex,
            addresses: far.addresses,
        };
        let forwarder = Self {
            ends,
            threads,
            _node_end: at_node.namespace,
            _pod_end: beyond,
        };
        (pod, forwarder)
    }

    /// From now on, what leaves the pod is frames with their checksums, each one on its own, and
    /// not what a network card would make them of.
    ///
    /// # Panics
    ///
    /// When `ethtool` fails.
    pub fn send_frames(pod: &Pod) {
        let off = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];
        tool(
            &pod.namespace,
            "ethtool",
            &[&["-K", "eth0"], &off[..]].concat(),
        );
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in there has made the test fail already: nothing is forwarded any more.
            let _panicked = thread.join();
        }
    }
}

fn take(
    mut from: &Socket,
    delay: Duration,
    mut is_lost: impl FnMut(&[u8]) -> bool,
    send: &Sender<Due>,
    ends: &AtomicBool,
) {
    let mut buffer = vec![0; FRAME];
    while !ends.load(Ordering::Relaxed) {
        // An error is a tick without a frame, or an interface that is gone.
        let Ok(length) = from.read(&mut buffer) else {
            continue;
        };
        let due = Instant::now() + delay;
        let frame = buffer.get(..length).unwrap_or_default();
        if !is_lost(frame) && send.send((due, frame.into())).is_err() {
            return;
        }
    }
}

fn release(due: &Receiver<Due>, to: &Socket) {
    for (due, frame) in due {
        // Not waiting for anything: this is the delay of the wire.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A frame that can't be written is lost, as the test will notice.
        let _sent = to.send(&frame);
    }
}
