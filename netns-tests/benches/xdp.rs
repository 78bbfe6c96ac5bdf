//! What the witness costs a container that sends as fast as it can over one TCP connection: bytes
//! from one pod to another through the bridge, with nothing attached, with the flow programs, and
//! with the witness too. Rounds of all take turns, so that a machine that slows down slows all of
//! them; what counts is the ratio within a round.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program for people"
)]

use std::{
    fmt::Debug,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use flowmon::{
    kernel::{Datapath, XdpMode},
    lab::{Lab, Pod},
    netlink,
};

const ROUNDS: usize = 15;
const EACH: Duration = Duration::from_secs(1);
const PORT: u16 = 5201;

/// What is attached to the sender's veth.
type Contender = (&'static str, Option<Option<XdpMode>>);
const CONTENDERS: [Contender; 4] = [
    ("nothing", None),
    ("flows", Some(None)),
    ("flows, skb", Some(Some(XdpMode::Skb))),
    ("flows, native", Some(Some(XdpMode::Native))),
];

fn may<T>(result: Result<T, impl Debug>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

fn main() {
    let lab = may(Lab::new("cni0"));
    let a = may(lab.add_pod("a", &lab.host(2)));
    let b = may(lab.add_pod("b", &lab.host(3)));
    let mut datapath = may(Datapath::load(65_536));
    let mut rates: [Vec<f64>; CONTENDERS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, attached), rates) in CONTENDERS.iter().zip(&mut rates) {
            if let Some(witness) = attached {
                attach(&lab, &mut datapath, &a, *witness);
            }
            rates.push(transfer(&a, &b));
            datapath.detach(a.ifindex);
            may(datapath.release(a.ifindex, &[]));
        }
    }
    println!(
        "Gbit/s min, median, max of {ROUNDS} rounds; median of the ratio to nothing, and to flows"
    );
    let [nothing, flows, ..] = &rates;
    for ((name, _), own) in CONTENDERS.iter().zip(&rates) {
        let ratio = |base: &[f64]| {
            median(
                &std::iter::zip(own, base)
                    .map(|(own, base)| own / base)
                    .collect::<Vec<_>>(),
            )
        };
        let least = own.iter().copied().fold(f64::INFINITY, f64::min);
        let most = own.iter().copied().fold(0.0, f64::max);
        println!(
            "  {name:<14} {least:>6.2} {:>6.2} {most:>6.2} {:>7.3} {:>7.3}",
            median(own),
            ratio(nothing),
            ratio(flows)
        );
    }
}

fn attach(lab: &Lab, datapath: &mut Datapath, pod: &Pod, witness: Option<XdpMode>) {
    let interfaces = may(may(lab.node().block_on(netlink::list)));
    let interface = interfaces.iter().find(|one| one.ifindex == pod.ifindex);
    let interface = interface.unwrap_or_else(|| panic!("{} is not there", pod.interface));
    datapath.set_witness(witness);
    let hooks = may(may(lab.node().run(|| datapath.attach(interface, None, 0))));
    assert_eq!(may(hooks.witness), witness);
}

/// Gbit/s.
fn transfer(from: &Pod, to: &Pod) -> f64 {
    let address = to
        .ipv4()
        .unwrap_or_else(|| panic!("{} has no address", to.name));
    let listener = may(may(to.namespace.run(|| TcpListener::bind((address, PORT)))));
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
    let mut stream = may(may(from
        .namespace
        .run(|| TcpStream::connect((address, PORT)))));
    let buffer = vec![0; 1 << 18];
    let began = Instant::now();
    while began.elapsed() < EACH {
        may(stream.write_all(&buffer));
    }
    drop(stream);
    receiving
        .join()
        .unwrap_or_else(|_| panic!("the receiver died"))
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
