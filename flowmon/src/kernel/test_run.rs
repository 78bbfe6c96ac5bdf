//! One frame through one program, without an interface (`BPF_PROG_TEST_RUN`).

use std::time::Duration;

use aya::{
    Ebpf,
    programs::{TestRun as _, TestRunOptions},
};

use super::{Error, object, xdp};

/// A frame and the part of its `__sk_buff` that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The frame, 14 bytes or more.
    pub bytes: &'a [u8],
    /// Interface it is said to be on; must exist.
    pub ifindex: u32,
    /// Wire packets it is said to stand for.
    pub gso_segments: u32,
    /// How many times to run it.
    pub repeat: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The program's return value: `TC_ACT_UNSPEC` as a `u32`, or `XDP_PASS`.
    pub action: u32,
    /// Mean time of one run.
    pub duration: Duration,
}

/// Offsets in `struct __sk_buff` (`include/uapi/linux/bpf.h`).
const IFINDEX: usize = 40;
const GSO_SEGS: usize = 164;
const SK_BUFF_LEN: usize = 192;

pub(super) fn run(ebpf: &mut Ebpf, program: &str, frame: &Frame<'_>) -> Result<Outcome, Error> {
    if program == xdp::PROGRAM {
        return run_xdp(ebpf, program, frame);
    }
    let mut context = [0u8; SK_BUFF_LEN];
    for (offset, value) in [(IFINDEX, frame.ifindex), (GSO_SEGS, frame.gso_segments)] {
        if let Some(field) = context.get_mut(offset..offset + 4) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
    }
    let result = object::program(ebpf, program)?.test_run(TestRunOptions {
        data_in: Some(frame.bytes),
        ctx_in: Some(&context),
        repeat: frame.repeat,
        ..TestRunOptions::new()
    })?;
    Ok(Outcome {
        action: result.return_value,
        duration: result.duration,
    })
}

/// On the loopback interface of this network namespace, as one buffer: that can't be chosen before
/// Linux 5.14.
fn run_xdp(ebpf: &mut Ebpf, program: &str, frame: &Frame<'_>) -> Result<Outcome, Error> {
    let result = object::xdp(ebpf, program)?.test_run(TestRunOptions {
        data_in: Some(frame.bytes),
        repeat: frame.repeat,
        ..TestRunOptions::new()
    })?;
    Ok(Outcome {
        action: result.return_value,
        duration: result.duration,
    })
}
