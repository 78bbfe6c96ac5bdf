//! What makes a type fit to cross the line between kernel and userspace.

/// A plain value that may be copied to and from the kernel byte by byte.
///
/// # Safety
///
/// The type is `repr(C)`, has no padding the compiler may leave uninitialised, no pointer, and
/// every bit pattern is a valid value of it.
pub unsafe trait Abi: Copy + 'static {}

// SAFETY: plain integers.
unsafe impl Abi for u32 {}
// SAFETY: plain integers.
unsafe impl Abi for u64 {}

/// Reads a `T` from the start of `bytes`, wherever they lie; `None` when they are too few.
pub fn read<T: Abi>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: the slice is as long as `T`, and `Abi` makes any bytes a valid `T`; no alignment is
    // asked for.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// States a type's size at compile time and makes it [`Abi`]: the kernel and the userspace of one
/// build agree by construction, and a change of layout is a change of this line.
macro_rules! abi {
    ($type:ty, size = $size:literal, align = $align:literal) => {
        const _: () = assert!(size_of::<$type>() == $size && align_of::<$type>() == $align);
        // SAFETY: `repr(C)` of integers and arrays of integers, and the size asserted above is the
        // sum of the fields, so there is no padding.
        unsafe impl $crate::abi::Abi for $type {}
    };
}
pub(crate) use abi;

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn too_few_bytes_are_no_value() {
        assert_eq!(read::<u32>(&[1, 2, 3]), None);
        assert_eq!(
            read::<u32>(&[1, 0, 0, 0, 9]),
            Some(u32::from_ne_bytes([1, 0, 0, 0]))
        );
    }
}
