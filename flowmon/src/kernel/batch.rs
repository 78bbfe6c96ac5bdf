//! `BPF_MAP_LOOKUP_BATCH` (Linux 5.6), which aya does not have: a map is copied out bucket by
//! bucket at a tenth of the cost of asking for each key.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use flowmon_common::abi::Abi;

const BPF_MAP_LOOKUP_BATCH: nix::libc::c_long = 24;

/// `union bpf_attr`, the part of the batch commands (`include/uapi/linux/bpf.h`).
#[repr(C)]
struct Attr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads whole maps, in a buffer that it keeps.
pub(super) struct BatchReader<K, V> {
    keys: Vec<MaybeUninit<K>>,
    values: Vec<MaybeUninit<V>>,
    most: usize,
}

impl<K: Abi, V: Abi> BatchReader<K, V> {
    /// A quarter of a megabyte, which stays in the processor's cache until `each` has seen it.
    const AT_ONCE: usize = 1024;

    /// For a map of at most `max_entries`.
    pub(super) fn new(max_entries: u32) -> Self {
        let mut reader = Self {
            keys: Vec::new(),
            values: Vec::new(),
            most: max_entries as usize,
        };
        reader.resize(Self::AT_ONCE);
        reader
    }

    fn resize(&mut self, entries: usize) {
        self.keys.resize_with(entries, MaybeUninit::uninit);
        self.values.resize_with(entries, MaybeUninit::uninit);
    }

    /// Hands every entry to `each`. An entry made or removed meanwhile may be left out; one that
    /// is there all the time is handed over exactly once.
    pub(super) fn read(
        &mut self,
        map: BorrowedFd<'_>,
        mut each: impl FnMut(&K, &V),
    ) -> io::Result<()> {
        let mut position = None;
        loop {
            let (count, next, result) = self.lookup(map, position);
            match result {
                // A bucket has more entries than fit: nothing was read, so ask again with room.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOSPC) => {
                    let entries = self.keys.len();
                    if entries > self.most {
                        return Err(error);
                    }
                    self.resize(entries * 2);
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(nix::libc::EINTR) => continue,
                Err(error) if error.raw_os_error() != Some(nix::libc::ENOENT) => return Err(error),
                _ => {}
            }
            for (key, value) in self.keys.iter().zip(&self.values).take(count) {
                // SAFETY: the kernel wrote the first `count` keys.
                let key = unsafe { key.assume_init_ref() };
                // SAFETY: and as many values.
                let value = unsafe { value.assume_init_ref() };
                each(key, value);
            }
            if result.is_err() {
                return Ok(()); // ENOENT: that was the last bucket
            }
            position = Some(next);
        }
    }

    /// One system call: how many entries it read, where the next one starts, and its result.
    fn lookup(
        &mut self,
        map: BorrowedFd<'_>,
        mut position: Option<u32>,
    ) -> (usize, u32, io::Result<()>) {
        let mut next = 0u32;
        let mut attr = Attr {
            in_batch: position
                .as_mut()
                .map_or(0, |position| std::ptr::from_mut(position) as u64),
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
            map_fd: map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads and writes `attr` and what it points to: a u32 each for the
        // positions, and at most `count` keys and values, which is the length of both buffers.
        // The map's key and value are `K` and `V`: aya checked their sizes when it opened it.
        let result = unsafe {
            nix::libc::syscall(
                nix::libc::SYS_bpf,
                BPF_MAP_LOOKUP_BATCH,
                std::ptr::from_mut(&mut attr),
                size_of::<Attr>(),
            )
        };
        let result = if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        };
        (attr.count as usize, next, result)
    }
}
