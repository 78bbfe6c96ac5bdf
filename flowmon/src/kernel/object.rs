//! The eBPF object inside this binary.

use std::{collections::BTreeMap, panic::resume_unwind, path::Path, time::Duration};

use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError, ProgramInfo, SchedClassifier, Xdp},
};
use flowmon_common::layout;

use super::{
    Error,
    attach::{ETHERNET, PROGRAMS},
    xdp,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flowmon.bpf.o"));

/// Was the kernel side built in?
pub fn is_embedded() -> bool {
    !OBJECT.is_empty()
}

/// Programs that every run needs. The others are verified when they are first asked for.
const NEEDED: [&str; 3] = [ETHERNET[0], ETHERNET[1], CLOCK];

/// The program that reads the kernel's clocks.
pub(super) const CLOCK: &str = "flowmon_clock";

/// The maps in which it is counted, and what userspace must find again. The others are for the moment.
const KEPT: [&str; 9] = [
    "FLOWS",
    "TOTALS",
    "LATENCIES",
    "COUNTERS",
    "ENDPOINTS",
    "FRAGMENTS",
    "EVENTS",
    "ENDED",
    "LEDGER",
];

/// Creates the maps and has the programs verified. What is to be kept is kept in this folder of bpffs:
/// what is there already is taken over, whatever room it has.
pub(super) fn load(max_flows: u32, kept_in: Option<&Path>) -> Result<Ebpf, Error> {
    is_ours(OBJECT)?;
    raise_memlock();
    let mut loader = EbpfLoader::new();
    if let Some(folder) = kept_in {
        for map in KEPT {
            loader.map_pin_path(map, folder.join(map));
        }
    }
    let mut ebpf = loader
        .map_max_entries("FLOWS", max_flows)
        .load(OBJECT)
        .map_err(|error| Error::loading(&error))?;
    verify(&mut ebpf)?;
    Ok(ebpf)
}

/// Is there an object, and does it speak this binary's interface?
fn is_ours(object: &[u8]) -> Result<(), Error> {
    if object.is_empty() {
        return Err(Error::NoObject);
    }
    if !layout::is_in(object) {
        return Err(Error::AnotherBuild);
    }
    Ok(())
}

/// What every run needs, all at once: most of the time until the first packet is counted goes by
/// here.
fn verify(ebpf: &mut Ebpf) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let needed = ebpf
            .programs_mut()
            .filter(|(name, _)| NEEDED.contains(name));
        let threads: Vec<_> = needed
            .map(|(_, program)| scope.spawn(|| <&mut SchedClassifier>::try_from(program)?.load()))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let result = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            result.map_err(|error| Error::verifying(&error))
        })
    })
}

/// One of the object's programs, loaded.
pub(super) fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| Error::Refused {
        reason: format!("the object has no program {name}"),
    })?;
    let program: &mut SchedClassifier = program.try_into()?;
    if program.fd().is_err() {
        program.load().map_err(|error| Error::verifying(&error))?;
    }
    Ok(program)
}

/// As [`program`], of those for XDP.
pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| Error::Refused {
        reason: format!("the object has no program {name}"),
    })?;
    let program: &mut Xdp = program.try_into()?;
    if program.fd().is_err() {
        program.load().map_err(|error| Error::verifying(&error))?;
    }
    Ok(program)
}

/// What the kernel says of a loaded program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its name.
    pub name: &'static str,
    /// Instructions the verifier walked through; kernels since 5.16 tell.
    pub verified_instructions: Option<u32>,
    /// Bytes of machine code.
    pub jited_bytes: u32,
}

pub(super) fn facts(ebpf: &mut Ebpf) -> Result<Vec<ProgramFacts>, Error> {
    let mut facts = Vec::new();
    for name in PROGRAMS {
        facts.push(fact(name, program(ebpf, name)?.info())?);
    }
    facts.push(fact(xdp::PROGRAM, xdp(ebpf, xdp::PROGRAM)?.info())?);
    Ok(facts)
}

/// See [`super::Datapath::run_times`].
pub(super) fn run_times(ebpf: &Ebpf) -> BTreeMap<String, Duration> {
    let of = |(name, program): (&str, &Program)| {
        let ran = program.info().ok()?.run_time();
        (ran > Duration::ZERO).then(|| (name.to_owned(), ran))
    };
    ebpf.programs().filter_map(of).collect()
}

fn fact(
    name: &'static str,
    info: Result<ProgramInfo, ProgramError>,
) -> Result<ProgramFacts, Error> {
    let info = info?;
    Ok(ProgramFacts {
        name,
        verified_instructions: info.verified_instruction_count(),
        jited_bytes: info.size_jitted(),
    })
}

/// Kernels before 5.11 charge maps to `RLIMIT_MEMLOCK`. Where it can't be raised, that matters only
/// to them, and they will say so when a map is created.
pub(super) fn raise_memlock() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        tracing::debug!(%error, "RLIMIT_MEMLOCK stays as it is; only kernels before 5.11 need it raised");
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, is_ours};
    use flowmon_common::layout::MARK;

    #[test]
    fn an_object_of_another_build_is_refused() {
        assert!(matches!(is_ours(&[]), Err(Error::NoObject)));
        assert!(matches!(is_ours(b"\x7fELF"), Err(Error::AnotherBuild)));
        assert!(is_ours(&[&b"\x7fELF"[..], &MARK].concat()).is_ok());
    }
}
