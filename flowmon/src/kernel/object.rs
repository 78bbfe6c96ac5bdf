//! The eBPF object inside this binary.

use std::panic::resume_unwind;

use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, SchedClassifier},
};

use super::{Error, attach::PROGRAMS};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/flowmon.bpf.o"));

/// Was the kernel side built in?
pub fn is_embedded() -> bool {
    !OBJECT.is_empty()
}

/// Creates the maps and has every program verified.
pub(super) fn load(max_flows: u32) -> Result<Ebpf, Error> {
    if !is_embedded() {
        return Err(Error::NoObject);
    }
    raise_memlock();
    let mut ebpf = EbpfLoader::new()
        .map_max_entries("FLOWS", max_flows)
        .load(OBJECT)
        .map_err(|error| Error::loading(&error))?;
    for name in PROGRAMS {
        program(&mut ebpf, name)?;
    }
    verify(&mut ebpf)?;
    Ok(ebpf)
}

/// All programs at once: most of the time until the first packet is counted goes by here.
fn verify(ebpf: &mut Ebpf) -> Result<(), Error> {
    std::thread::scope(|scope| {
        let programs = ebpf.programs_mut().map(|(_, program)| program);
        let threads: Vec<_> = programs
            .map(|program| scope.spawn(|| <&mut SchedClassifier>::try_from(program)?.load()))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let result = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            result.map_err(|error| Error::verifying(&error))
        })
    })
}

/// One of the object's programs.
pub(super) fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, Error> {
    let program = ebpf.program_mut(name).ok_or_else(|| Error::Refused {
        reason: format!("the object has no program {name}"),
    })?;
    Ok(program.try_into()?)
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

pub(super) fn facts(ebpf: &Ebpf) -> Result<Vec<ProgramFacts>, Error> {
    PROGRAMS
        .into_iter()
        .map(|name| {
            let info = ebpf.program(name).ok_or(ProgramError::NotLoaded)?.info()?;
            Ok(ProgramFacts {
                name,
                verified_instructions: info.verified_instruction_count(),
                jited_bytes: info.size_jitted(),
            })
        })
        .collect()
}

/// Kernels before 5.11 charge maps to `RLIMIT_MEMLOCK`. Where it can't be raised, that matters only
/// to them, and they will say so when a map is created.
fn raise_memlock() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        tracing::debug!(%error, "RLIMIT_MEMLOCK stays as it is; only kernels before 5.11 need it raised");
    }
}
