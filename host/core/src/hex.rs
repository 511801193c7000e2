//! Bytes as lower-case hexadecimal digits: one way to write each value, and only that way is read.

use std::fmt;

/// Writes two digits a byte.
///
/// # Errors
/// The formatter's.
pub fn write(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly `N` bytes; none when the text is anything else than what [`write`] writes of them.
#[must_use]
pub fn read<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

const fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_be_written_is_read() {
        assert_eq!(read::<2>("0aff"), Some([0x0a, 0xff]));
        for bad in ["", "0af", "0aff0", "0AFF", "0ag0", "ää"] {
            assert_eq!(read::<2>(bad), None, "{bad}");
        }
    }
}
