//! Nanoseconds per packet (`BPF_PROG_TEST_RUN`), beside what any flow counter must cost: an empty
//! program, and a minimal one that does no more than count. Rounds of all take turns, so that a
//! machine that slows down slows all of them; what counts are the ratios.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program for people"
)]

use std::fmt::Debug;

use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
};
use flowmon::kernel::{Datapath, Frame};

const ROUNDS: usize = 25;
const REPEAT: u32 = 40_000;
/// The loopback interface.
const IFINDEX: u32 = 1;

fn may<T>(result: Result<T, impl Debug>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// One thing to measure, and its results so far.
struct Contender<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> u64 + 'a>,
    nanoseconds: Vec<u64>,
}

fn main() {
    let floor_object = may(std::env::var("FLOWMON_FLOOR_OBJECT"));
    let mut floor = may(EbpfLoader::new().load_file(floor_object));
    for name in ["floor_empty", "floor_counter"] {
        may(floor_program(&mut floor, name).load());
    }
    for (title, frames) in [("UDP", udp()), ("TCP", tcp())] {
        println!(
            "{title}, one flow, hot; ns per packet: min, median, max of {ROUNDS} rounds of {REPEAT}"
        );
        round_robin(&mut floor, &frames);
    }
}

fn round_robin(floor: &mut Ebpf, frames: &[Vec<u8>]) {
    let floor = std::cell::RefCell::new(floor);
    let mut datapath = may(Datapath::load(65_536));
    may(datapath.register(IFINDEX, 0));
    let datapath = std::cell::RefCell::new(datapath);
    // All but the last open the flow and bring it to where the last is just another packet.
    for frame in frames {
        ours(&mut datapath.borrow_mut(), frame, 1);
    }
    let Some(frame) = frames.last() else { return };
    let mut contenders = [
        Contender {
            name: "empty",
            run: Box::new(|| theirs(&mut floor.borrow_mut(), "floor_empty", frame)),
            nanoseconds: Vec::new(),
        },
        Contender {
            name: "minimal counter",
            run: Box::new(|| theirs(&mut floor.borrow_mut(), "floor_counter", frame)),
            nanoseconds: Vec::new(),
        },
        Contender {
            name: "flowmon",
            run: Box::new(|| ours(&mut datapath.borrow_mut(), frame, REPEAT)),
            nanoseconds: Vec::new(),
        },
    ];
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.nanoseconds.push((contender.run)());
        }
    }
    for contender in &mut contenders {
        contender.nanoseconds.sort_unstable();
        let at = |part: usize| contender.nanoseconds.get(part).copied().unwrap_or(0);
        println!(
            "  {:<16} {:>5} {:>5} {:>5}",
            contender.name,
            at(0),
            at(ROUNDS / 2),
            at(ROUNDS - 1)
        );
    }
}

fn ours(datapath: &mut Datapath, frame: &[u8], repeat: u32) -> u64 {
    let frame = Frame {
        bytes: frame,
        ifindex: IFINDEX,
        gso_segments: 0,
        repeat,
    };
    nanoseconds(may(datapath.run("flowmon_tx", &frame)).duration)
}

fn theirs(floor: &mut Ebpf, program: &str, frame: &[u8]) -> u64 {
    let run = floor_program(floor, program).test_run(TestRunOptions {
        data_in: Some(frame),
        repeat: REPEAT,
        ..TestRunOptions::new()
    });
    nanoseconds(may(run).duration)
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn floor_program<'a>(floor: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    let program = floor
        .program_mut(name)
        .unwrap_or_else(|| panic!("no program {name}"));
    may(program.try_into())
}

fn udp() -> Vec<Vec<u8>> {
    vec![packet(17, &[0x9c, 0x41, 0x13, 0x88, 0, 72, 0, 0], 64)]
}

/// A connection that is up, and the acknowledgement that is sent most.
fn tcp() -> Vec<Vec<u8>> {
    let segment = |sequence: u32, acknowledgement: u32, flags: u8| {
        let mut header = vec![0x9c, 0x40, 0x14, 0x51];
        header.extend(sequence.to_be_bytes());
        header.extend(acknowledgement.to_be_bytes());
        header.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
        packet(6, &header, 0)
    };
    vec![
        segment(1000, 0, 0x02),
        segment(1001, 5001, 0x10),
        segment(1001, 5001, 0x10),
    ]
}

fn packet(protocol: u8, transport: &[u8], payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let length = u16::try_from(20 + transport.len() + payload).unwrap_or(u16::MAX);
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([
        0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 77, 0, 2, 10, 77, 0, 3,
    ]);
    frame.extend(transport);
    frame.resize(frame.len() + payload, 0);
    frame
}
