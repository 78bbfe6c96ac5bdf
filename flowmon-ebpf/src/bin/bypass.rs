//! Somebody else's datapath, which takes packets past flowmon's hooks: for the tests, not part of
//! the product.
#![no_std]
#![no_main]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the classifier macro asks for"
)]

use aya_ebpf::{
    Global, bindings::TC_ACT_UNSPEC, helpers::bpf_redirect_peer, macros::classifier,
    programs::TcContext,
};

/// The port on this side of the one whose far end shall get the packets.
#[unsafe(no_mangle)]
static IFINDEX: Global<u32> = Global::new(0);

/// UDP over IPv4 to this port is taken.
const PORT: u16 = 7000;

/// As a container network's eBPF datapath does: straight into the other container, past whatever
/// is attached to its interface on the host.
#[classifier]
fn bypass(ctx: TcContext) -> i32 {
    let kind = ctx.load::<u16>(12).map_or(0, u16::from_be);
    let protocol = ctx.load::<u8>(23).unwrap_or(0);
    let port = ctx.load::<u16>(36).map_or(0, u16::from_be);
    if (kind, protocol, port) != (0x0800, 17, PORT) {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: takes two numbers, and marks the packet that this program was called with.
    let action = unsafe { bpf_redirect_peer(IFINDEX.load(), 0) };
    i32::try_from(action).unwrap_or(TC_ACT_UNSPEC)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
