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
        let frames = self.stop_with_frames(expected);
        let sum = |frames: &[Frame]| Traffic {
            packets: frames.len() as u64,
            bytes: frames.iter().map(|frame| u64::from(frame.length)).sum(),
        };
        Totals {
            tx: sum(&frames.tx),
            rx: sum(&frames.rx),
        }
    }

    /// As [`Self::stop`], with the frames themselves.
    ///
    /// # Panics
    ///
    /// As it does.
    pub fn stop_with_frames(self, expected: &Totals) -> Frames {
        Frames {
            tx: self.tx.stop_at(expected.tx.packets),
            rx: self.rx.stop_at(expected.rx.packets),
        }
    }

    /// As [`Self::stop_with_frames`], where not their number but the last of them is known.
    ///
    /// # Panics
    ///
    /// When it does not come, or tcpdump missed some.
    pub fn stop_behind(self, is_last: impl Fn(&Frame) -> bool) -> Frames {
        let seen = |captured: &[Frame]| captured.last().is_some_and(&is_last);
        Frames {
            tx: self.tx.stop_when(seen),
            rx: self.rx.stop_when(seen),
        }
    }
}

/// What was captured, in order.
#[derive(Debug, Clone)]
pub struct Frames {
    /// From the pod.
    pub tx: Vec<Frame>,
    /// To the pod.
    pub rx: Vec<Frame>,
}

/// A captured frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When the kernel saw it (`CLOCK_REALTIME`, ns).
    pub time_ns: u64,
    /// Its length on the wire.
    pub length: u32,
    /// Its first bytes: the headers.
    pub headers: Vec<u8>,
}

#[derive(Debug)]
struct Tcpdump {
    child: Child,
    stderr: BufReader<ChildStderr>,
    frames: Receiver<Frame>,
}

impl Tcpdump {
    fn start(node: &Namespace, interface: &str, direction: &str) -> Self {
        const HEADERS: &str = "64";
        const BUFFER_KIB: &str = "65536";
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", interface, "-Q", direction, "-n"])
            .args(["-s", HEADERS, "-B", BUFFER_KIB])
            .args(["-U", "-w", "-"])
            .arg("--time-stamp-precision=nano")
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
        std::thread::spawn(move || send_frames(BufReader::new(stdout), &send));
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

    fn stop_at(self, packets: u64) -> Vec<Frame> {
        self.stop_when(|captured| captured.len() as u64 >= packets)
    }

    fn stop_when(mut self, is_all: impl Fn(&[Frame]) -> bool) -> Vec<Frame> {
        let mut captured = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !is_all(&captured) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(frame) => captured.push(frame),
                Err(error) => panic!("tcpdump has {} packets: {error}", captured.len()),
            }
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        assert_eq!(kill(pid, Signal::SIGTERM), Ok(()), "stopping tcpdump");
        captured.extend(&self.frames);
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
fn send_frames(mut file: impl Read, frames: &Sender<Frame>) {
    let mut header = [0; 24];
    if file.read_exact(&mut header).is_err() {
        return;
    }
    let mut record = [0; 16];
    while file.read_exact(&mut record).is_ok() {
        // As this machine stores numbers.
        let number = |at: usize| {
            let bytes = record.iter().skip(at).take(4);
            let mut number = [0; 4];
            number
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
            u32::from_ne_bytes(number)
        };
        let (seconds, nanoseconds, captured, length) =
            (number(0), number(4), number(8), number(12));
        let mut headers = Vec::new();
        let read = file
            .by_ref()
            .take(captured.into())
            .read_to_end(&mut headers);
        let whole = read.is_ok_and(|read| read as u64 == u64::from(captured));
        let frame = Frame {
            time_ns: u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds),
            length,
            headers,
        };
        if !whole || frames.send(frame).is_err() {
            return;
        }
    }
}
