//! `BPF_LINK_CREATE` (Linux 5.7), by the interface's index.
//!
//! aya asks for a name, which the interface may have lost and another one may have by now. And it
//! looks the name up through a socket, whose end costs a wait: a tcx link is only made when an RCU
//! grace period is over, and freeing a socket begins one that ours can't be.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

const BPF_LINK_CREATE: nix::libc::c_long = 28;

/// `union bpf_attr`, the part of `BPF_LINK_CREATE` for interfaces (`include/uapi/linux/bpf.h`). The
/// last three are of tcx; zeros are none to other kinds.
#[repr(C)]
struct Attr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    padding: u32,
    expected_revision: u64,
}

/// Attaches `program` to an interface, until the descriptor is closed.
pub(super) fn create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let attr = Attr {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex: ifindex,
        attach_type,
        flags,
        relative_fd: 0,
        padding: 0,
        expected_revision: 0,
    };
    // SAFETY: the kernel reads `attr`, for this command no further than it is long, and writes
    // nothing.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_bpf,
            BPF_LINK_CREATE,
            std::ptr::from_ref(&attr),
            size_of::<Attr>(),
        )
    };
    match i32::try_from(result) {
        // SAFETY: the kernel made this descriptor for us, and nobody else knows of it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
