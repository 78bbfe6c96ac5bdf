//! What others count at the same interface: the kernel, and tcpdump.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use flowmon::{
    lab::{self, Namespace, Pod},
    netlink,
};
use flowmon_common::{Totals, Traffic};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Longer than tcpdump takes to write what it has on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kernel's own counters of a pod's veth on the node, since it was made. They count socket
/// buffers: equal to frames on the wire only without GSO.
///
/// # Panics
///
/// When there is no such interface.
pub fn interface_counters(node: &Namespace, pod: &Pod) -> Totals {
    let listed = node.block_on(async || Ok::<_, lab::Error>(netlink::list().await?));
    let interface = listed
        .flatten()
        .unwrap_or_else(|error| panic!("{error}"))
        .into_iter()
        .find(|interface| interface.ifindex == pod.ifindex)
        .unwrap_or_else(|| panic!("{} is not there", pod.interface));
    Totals {
        tx: Traffic {
            packets: interface.counters.rx_packets,
            bytes: interface.counters.rx_bytes,
        },
        rx: Traffic {
            packets: interface.counters.tx_packets,
            bytes: interface.counters.tx_bytes,
        },
    }
}

/// tcpdump at a pod's veth on the node, one for each direction. Killed when dropped.
#[derive(Debug)]
pub struct Capture {
    tx: Tcpdump,
    rx: Tcpdump,
}

impl Capture {
    /// Starts capturing, and waits until it does.
    ///
    /// # Panics
    ///
    /// When tcpdump does not start.
    pub fn start(node: &Namespace, pod: &Pod) -> Self {
        Self {
            tx: Tcpdump::start(node, &pod.interface, "in"),
            rx: Tcpdump::start(node, &pod.interface, "out"),
        }
    }

    /// Stops, and says what was captured. A tcpdump that is told to stop forgets what it has not
    /// read yet, so it is given time to write that many packets before.
    ///
    /// # Panics
    ///
    /// When fewer packets came, or tcpdump missed some.
    pub fn stop(self, expected: &Totals) -> Totals {
        Totals {
            tx: self.tx.stop(expected.tx.packets),
            rx: self.rx.stop(expected.rx.packets),
        }
    }
}

#[derive(Debug)]
struct Tcpdump {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// The length of each frame on the wire.
    frames: Receiver<u32>,
}

impl Tcpdump {
    fn start(node: &Namespace, interface: &str, direction: &str) -> Self {
        const HEADERS: &str = "64";
        const BUFFER_KIB: &str = "65536";
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", interface, "-Q", direction, "-n"])
            .args(["-s", HEADERS, "-B", BUFFER_KIB])
            .args(["--immediate-mode", "-U", "-w", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = node.spawn_command(&mut command).unwrap_or_else(|error| {
            panic!("starting tcpdump: {error}; `./scripts/setup test` installs it")
        });
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            panic!("both are piped");
        };
        let (send, frames) = channel();
        std::thread::spawn(move || send_lengths(BufReader::new(stdout), &send));
        let mut stderr = BufReader::new(stderr);
        let mut said = String::new();
        while !said.contains("listening on") {
            let read = stderr.read_line(&mut said).unwrap_or(0);
            assert_ne!(read, 0, "tcpdump does not listen: {said}");
        }
        Self {
            child,
            stderr,
            frames,
        }
    }

    fn stop(mut self, packets: u64) -> Traffic {
        let mut captured = Traffic::default();
        let mut add = |length: u32| {
            captured.packets += 1;
            captured.bytes += u64::from(length);
            captured.packets
        };
        let deadline = Instant::now() + PATIENCE;
        let mut written = 0;
        while written < packets {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(length) => written = add(length),
                Err(error) => panic!("tcpdump has {written} packets of {packets}: {error}"),
            }
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        assert_eq!(kill(pid, Signal::SIGTERM), Ok(()), "stopping tcpdump");
        for length in &self.frames {
            add(length);
        }
        let mut said = String::new();
        let read = self.stderr.read_to_string(&mut said);
        assert!(
            read.is_ok() && said.contains("\n0 packets dropped by kernel"),
            "tcpdump missed packets, so it is no witness: {said}"
        );
        captured
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Reads a capture file as it is written (`pcap-savefile(5)`), to its end.
fn send_lengths(mut file: impl Read, lengths: &Sender<u32>) {
    let mut header = [0; 24];
    if file.read_exact(&mut header).is_err() {
        return;
    }
    // Seconds, fraction, bytes that follow, bytes the frame had; as this machine stores numbers.
    let mut record = [0; 16];
    while file.read_exact(&mut record).is_ok() {
        let [.., c0, c1, c2, c3, l0, l1, l2, l3] = record;
        let captured = u32::from_ne_bytes([c0, c1, c2, c3]);
        let skipped = std::io::copy(
            &mut file.by_ref().take(captured.into()),
            &mut std::io::sink(),
        );
        let whole = skipped.is_ok_and(|skipped| skipped == u64::from(captured));
        if !whole || lengths.send(u32::from_ne_bytes([l0, l1, l2, l3])).is_err() {
            return;
        }
    }
}
