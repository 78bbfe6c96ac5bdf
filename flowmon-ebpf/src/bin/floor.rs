//! What any flow counter must cost, to measure flowmon against: not part of the product.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "atomic_xadd is the one atomic this target has"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the classifier macro asks for"
)]

#[path = "../atomic.rs"]
mod atomic;

use aya_ebpf::{
    bindings::{BPF_NOEXIST, TC_ACT_UNSPEC},
    helpers::bpf_ktime_get_ns,
    macros::{classifier, map},
    maps::LruHashMap,
    programs::TcContext,
};

/// As wide as flowmon's key.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Key {
    ifindex: u32,
    addresses: [u32; 8],
    ports: [u16; 2],
    protocol: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Count {
    packets: u64,
    bytes: u64,
    last_ns: u64,
}

#[map]
static COUNTS: LruHashMap<Key, Count> = LruHashMap::with_max_entries(65_536, 0);

/// Does nothing: the cost of being called.
#[classifier]
fn floor_empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Counts IPv4 packets and bytes of an LRU map's entry atomically, with a time stamp: the least that
/// a flow counter can do.
#[classifier]
fn floor_counter(ctx: TcContext) -> i32 {
    count(&ctx);
    TC_ACT_UNSPEC
}

#[expect(
    clippy::many_single_char_names,
    reason = "bytes in the order of the wire"
)]
#[inline(always)]
fn count(ctx: &TcContext) {
    let start = ctx.data();
    if start + 38 > ctx.data_end() {
        return;
    }
    // SAFETY: the verifier holds us to the check above; the bytes need no alignment.
    let head = unsafe { &*(start as *const [u8; 38]) };
    let [.., protocol, _, _, a, b, c, d, e, f, g, h, i, j, k, l] = *head;
    let key = Key {
        // SAFETY: the context is valid while the program runs.
        ifindex: unsafe { (*ctx.skb.skb).ifindex },
        addresses: [
            0,
            0,
            0,
            u32::from_ne_bytes([a, b, c, d]),
            0,
            0,
            0,
            u32::from_ne_bytes([e, f, g, h]),
        ],
        ports: [u16::from_ne_bytes([i, j]), u16::from_ne_bytes([k, l])],
        protocol: protocol.into(),
    };
    // SAFETY: takes nothing, returns a number.
    let now = unsafe { bpf_ktime_get_ns() };
    let bytes = u64::from(ctx.len());
    let Some(entry) = COUNTS.get_ptr_mut(key) else {
        let first = Count {
            packets: 1,
            bytes,
            last_ns: now,
        };
        // A race with another CPU costs a packet: it is a floor, not a product.
        let _raced = COUNTS.insert(key, first, BPF_NOEXIST.into());
        return;
    };
    // SAFETY: a pointer to a live entry of the map.
    let entry = unsafe { &mut *entry };
    entry.last_ns = now;
    // SAFETY: a field of it.
    unsafe { atomic::add(&raw mut entry.packets, 1) };
    // SAFETY: a field of it.
    unsafe { atomic::add(&raw mut entry.bytes, bytes) };
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the verifier refuses programs that could come here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
