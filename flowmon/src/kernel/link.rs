//! Links between programs and interfaces (Linux 5.7), by the interface's index.
//!
//! aya asks for a name, which the interface may have lost and another one may have by now. And it
//! looks the name up through a socket, whose end costs a wait: a tcx link is only made when an RCU
//! grace period is over, and freeing a socket begins one that ours can't be.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::libc::c_long;

/// `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const BPF_OBJ_PIN: c_long = 6;
const BPF_OBJ_GET: c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: c_long = 15;
const BPF_LINK_CREATE: c_long = 28;
const BPF_LINK_UPDATE: c_long = 29;
const BPF_LINK_DETACH: c_long = 34;

/// A part of `union bpf_attr`, or what such a part points to: what the kernel knows and is not in it
/// is zero to the kernel.
///
/// # Safety
///
/// The type is `repr(C)`, as the kernel has it, without padding; and what pointers are in it are
/// valid for what the command does with them.
unsafe trait Attributes {}

/// `BPF_LINK_CREATE`, for interfaces. The last three are of tcx; zeros are none to other kinds.
#[repr(C)]
struct Create {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    padding: u32,
    expected_revision: u64,
}
// SAFETY: no pointers.
unsafe impl Attributes for Create {}

#[repr(C)]
struct Update {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}
// SAFETY: no pointers.
unsafe impl Attributes for Update {}

#[repr(C)]
struct Detach {
    link_fd: u32,
}
// SAFETY: no pointers.
unsafe impl Attributes for Detach {}

/// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Object<'a> {
    pathname: Option<&'a std::ffi::c_char>,
    bpf_fd: u32,
    file_flags: u32,
}
// SAFETY: `pathname` is the first byte of a C string that lives as long, and is only read.
unsafe impl Attributes for Object<'_> {}

#[repr(C)]
struct GetInfo<'a> {
    bpf_fd: u32,
    info_len: u32,
    info: &'a mut Info,
}
// SAFETY: the kernel writes at most `info_len` bytes to `info`, which has as many.
unsafe impl Attributes for GetInfo<'_> {}

/// `struct bpf_link_info`, with the part of tcx.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
}

fn bpf(command: c_long, attributes: &mut impl Attributes) -> io::Result<c_long> {
    // SAFETY: the kernel reads the attributes no further than they are long, and what they point to
    // is what the command wants: `Attributes`.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of_val(attributes),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn owned(result: c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Attaches `program` to an interface, until the descriptor is closed.
pub(super) fn create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = Create {
        prog_fd: number(program),
        target_ifindex: ifindex,
        attach_type,
        flags,
        relative_fd: 0,
        padding: 0,
        expected_revision: 0,
    };
    owned(bpf(BPF_LINK_CREATE, &mut attributes)?)
}

/// Puts `program` in the place of the link's: no packet passes between them.
pub(super) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Update {
        link_fd: number(link),
        new_prog_fd: number(program),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &mut attributes).map(drop)
}

/// Detaches (Linux 5.9), whoever else holds the link, and waits for programs under way.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = Detach {
        link_fd: number(link),
    };
    bpf(BPF_LINK_DETACH, &mut attributes).map(drop)
}

/// The interface of a tcx link; 0 when it is gone.
pub(super) fn ifindex(link: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = Info::default();
    let mut attributes = GetInfo {
        bpf_fd: number(link),
        info_len: u32::try_from(size_of::<Info>()).unwrap_or_default(),
        info: &mut info,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info.ifindex)
}

/// Has a file in bpffs hold the link.
pub(super) fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object {
        pathname: first(&path),
        bpf_fd: number(link),
        file_flags: 0,
    };
    bpf(BPF_OBJ_PIN, &mut attributes).map(drop)
}

/// The link that a file holds.
pub(super) fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object {
        pathname: first(&path),
        bpf_fd: 0,
        file_flags: 0,
    };
    owned(bpf(BPF_OBJ_GET, &mut attributes)?)
}

fn first(path: &CString) -> Option<&std::ffi::c_char> {
    // SAFETY: a C string has at least its last byte.
    unsafe { path.as_ptr().as_ref() }
}
