//! The kernel side of flowmon: counts every packet of every watched interface, by flow.
//!
//! It observes. Each program ends in `TC_ACT_UNSPEC`, so whatever is attached behind it runs as if
//! flowmon were not there; those of XDP end in `XDP_PASS`.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "__sk_buff holds small fields in 32 bits, and TryFrom would be a branch for each packet"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the classifier macro asks for"
)]
#![expect(
    internal_features,
    reason = "atomic_xadd is the one atomic this target has; see atomic.rs"
)]

mod account;
mod atomic;
mod clock;
mod count;
mod emit;
mod fragments;
mod frame;
mod icmp;
mod latency;
mod maps;
mod open;
mod packet;
mod scratch;
mod witness;

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action::XDP_PASS},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use flowmon_common::{Direction, Link, layout};

/// What a container sent, at the ingress of its host-side interface.
#[classifier]
fn flowmon_tx(ctx: TcContext) -> i32 {
    observe(&ctx, Direction::Tx, Link::Ethernet)
}

/// What a container is about to receive, at the egress of its host-side interface.
#[classifier]
fn flowmon_rx(ctx: TcContext) -> i32 {
    observe(&ctx, Direction::Rx, Link::Ethernet)
}

/// As [`flowmon_tx`], for devices without a link-layer header.
#[classifier]
fn flowmon_ip_tx(ctx: TcContext) -> i32 {
    observe(&ctx, Direction::Tx, Link::Ip)
}

/// As [`flowmon_rx`], for devices without a link-layer header.
#[classifier]
fn flowmon_ip_rx(ctx: TcContext) -> i32 {
    observe(&ctx, Direction::Rx, Link::Ip)
}

/// The witness: what a container sent, at the XDP hook of its host-side interface.
#[xdp]
fn flowmon_xdp(ctx: XdpContext) -> u32 {
    witness::frame(&ctx);
    XDP_PASS
}

/// Reads the kernel's clocks. Attached nowhere: userspace runs it.
#[classifier]
fn flowmon_clock(_ctx: TcContext) -> i32 {
    clock::read();
    TC_ACT_UNSPEC
}

#[inline(always)]
fn observe(ctx: &TcContext, direction: Direction, link: Link) -> i32 {
    account::packet(ctx, direction, link);
    TC_ACT_UNSPEC
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable: the verifier refuses programs that could come here.
    loop {}
}

/// Tells userspace that this is the kernel side it was built with.
#[unsafe(link_section = "interface")]
#[unsafe(no_mangle)]
static INTERFACE: layout::Mark = layout::MARK;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
