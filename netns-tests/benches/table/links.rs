//! What traffic between two pods loses when it is watched. The way: pod, veth, bridge, veth, pod; what
//! is attached is attached to the sender's veth.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TcAttachType},
    sys::{Stats, enable_stats},
};
use flowmon::{
    kernel::Datapath,
    lab::{Lab, Pod},
    netlink,
};
use netns_tests::tool;
use nix::time::{ClockId, clock_gettime};

use crate::{may, row::Row};

const ROUNDS: usize = 15;
const EACH: Duration = Duration::from_millis(700);
const PORT: u16 = 5201;
const PAYLOAD: usize = 18;

struct Net {
    lab: Lab,
    from: Pod,
    to: Pod,
    ours: Datapath,
}

impl Net {
    fn new() -> Self {
        let lab = may(Lab::new("cni0"));
        Self {
            from: may(lab.add_pod("a", &lab.host(2))),
            to: may(lab.add_pod("b", &lab.host(3))),
            lab,
            ours: may(Datapath::load(65_536)),
        }
    }

    fn target(&self) -> SocketAddr {
        let address = self.to.ipv4();
        let address = address.unwrap_or_else(|| panic!("{} has no address", self.to.name));
        (address, PORT).into()
    }

    /// As `flowmon watch` does by default.
    fn attach(&mut self) {
        let interfaces = may(may(self.lab.node().block_on(netlink::list)));
        let interface = interfaces
            .iter()
            .find(|one| one.ifindex == self.from.ifindex)
            .unwrap_or_else(|| panic!("{} is not there", self.from.interface));
        let ours = &mut self.ours;
        may(may(self.lab.node().run(|| ours.attach(interface, None, 0))));
    }

    fn detach(&mut self) {
        self.ours.detach(self.from.ifindex);
        may(self.ours.release(self.from.ifindex, &[]));
    }

    /// Small datagrams as fast as one thread sends them, in a second of its processor time: in it they
    /// go all the way to the other pod's socket, which keeps some and drops the rest.
    fn datagrams(&self) -> f64 {
        let target = self.target();
        let _socket = may(may(self.to.namespace.run(|| UdpSocket::bind(target))));
        let sender = may(may(self
            .from
            .namespace
            .run(|| UdpSocket::bind("0.0.0.0:0"))));
        let (began, before) = (Instant::now(), thread_seconds());
        let mut sent = 0.0;
        while began.elapsed() < EACH {
            for _ in 0..64 {
                may(sender.send_to(&[0; PAYLOAD], target));
                sent += 1.0;
            }
        }
        sent / (thread_seconds() - before)
    }

    /// One TCP connection: Gbit/s.
    fn transfer(&self) -> f64 {
        let target = self.target();
        let listener = may(may(self.to.namespace.run(|| TcpListener::bind(target))));
        let receiving = std::thread::spawn(move || {
            let (mut stream, _) = may(listener.accept());
            let mut buffer = vec![0; 1 << 20];
            let (mut bytes, began) = (0, Instant::now());
            loop {
                match may(stream.read(&mut buffer)) {
                    0 => return bytes as f64 * 8e-9 / began.elapsed().as_secs_f64(),
                    read => bytes += read,
                }
            }
        });
        let mut stream = may(may(self.from.namespace.run(|| TcpStream::connect(target))));
        let buffer = vec![0; 1 << 18];
        let began = Instant::now();
        while began.elapsed() < EACH {
            may(stream.write_all(&buffer));
        }
        drop(stream);
        receiving.join().unwrap_or(f64::NAN)
    }
}

fn thread_seconds() -> f64 {
    Duration::from(may(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID))).as_secs_f64()
}

/// The minimal counter, in both directions of an interface. Dropping it detaches.
fn minimal(net: &Net) -> Ebpf {
    let object = may(std::env::var("FLOWMON_FLOOR_OBJECT"));
    let mut floor = may(EbpfLoader::new().load_file(object));
    let program = floor
        .program_mut("floor_counter")
        .unwrap_or_else(|| panic!("no floor_counter"));
    let program: &mut SchedClassifier = may(program.try_into());
    may(program.load());
    may(net.lab.node().run(|| {
        for kind in [TcAttachType::Ingress, TcAttachType::Egress] {
            may(program.attach(&net.from.interface, kind));
        }
    }));
    floor
}

/// Small packets: what arrives of them, and what a hook takes of each while they come.
pub(crate) fn small_packets() {
    let mut net = Net::new();
    let [mut nothing, mut watched, mut theirs, mut own] = [const { Vec::<f64>::new() }; 4];
    for _ in 0..ROUNDS {
        nothing.push(net.datagrams());
        net.attach();
        watched.push(net.datagrams());
        own.push(per_run(&net));
        net.detach();
        let floor = minimal(&net);
        theirs.push(per_run(&net));
        drop(floor);
    }
    Row {
        measure: "small UDP packets, live",
        unit: "ns a hook",
        floor: &theirs,
        ours: &own,
        goal: "≤ 1.05 × a minimal counter",
    }
    .print();
    Row {
        measure: "small UDP packets, delivered",
        unit: "a second of the sender's processor time",
        floor: &nothing,
        ours: &watched,
        goal: "≥ 0.92 × nothing attached",
    }
    .print();
}

/// Mean time of a run of the programs that are attached, while small packets come.
fn per_run(net: &Net) -> f64 {
    let _counting = may(enable_stats(Stats::RunTime));
    let (time, runs) = runs();
    net.datagrams();
    let (time, runs) = (self::runs().0 - time, self::runs().1 - runs);
    time / runs
}

/// Time (ns) and number of all runs of this process's programs (`bpf_prog_show_fdinfo`).
fn runs() -> (f64, f64) {
    let (mut time, mut runs) = (0.0, 0.0);
    for entry in may(std::fs::read_dir("/proc/self/fdinfo")) {
        let said = std::fs::read_to_string(may(entry).path()).unwrap_or_default();
        let field = |name: &str| {
            said.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        time += field("run_time_ns:");
        runs += field("run_cnt:");
    }
    (time, runs)
}

/// One connection as fast as it goes.
pub(crate) fn bulk() {
    let mut net = Net::new();
    let (mut nothing, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        nothing.push(net.transfer());
        net.attach();
        watched.push(net.transfer());
        let offloads = tool(&net.from.namespace, "ethtool", &["-k", "eth0"]);
        assert!(
            offloads.contains("tcp-segmentation-offload: on"),
            "the container lost its TSO: {offloads}"
        );
        net.detach();
    }
    Row {
        measure: "TCP through the bridge",
        unit: "Gbit/s",
        floor: &nothing,
        ours: &watched,
        goal: "≥ 0.97 × nothing attached",
    }
    .print();
}
