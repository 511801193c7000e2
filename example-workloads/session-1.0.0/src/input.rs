//! What a client sends: lines, and between them the bytes of a transfer. The same in every version.

/// Longest line: the longest command is a login.
pub const LINE_LIMIT_BYTES: usize = 256;

/// Longest name.
pub const NAME_LIMIT_BYTES: usize = 64;

/// Largest transfer. Its bytes are summed, not kept, so this only bounds how long a client may be busy with one.
pub const TRANSFER_LIMIT_BYTES: u64 = 1 << 30;

/// What a client's sum is before it sent anything (FNV-1a's beginning).
pub const SUM_START: u64 = 0xcbf2_9ce4_8422_2325;

/// A line, as a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `login NAME`.
    Login(&'a str),
    /// `put N`: N bytes follow.
    Put(u64),
    /// `sum`.
    Sum,
    /// `logout`.
    Logout,
}

impl<'a> Command<'a> {
    /// Reads a line without its end.
    ///
    /// # Errors
    /// What a client that speaks the protocol can make something of.
    pub fn parse(line: &'a [u8]) -> Result<Self, String> {
        let line = std::str::from_utf8(line).map_err(|_| "a line is text".to_owned())?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest) {
            ("login", name) if !name.is_empty() && name.len() <= NAME_LIMIT_BYTES => Ok(Self::Login(name)),
            ("login", _) => Err(format!("a name has 1 to {NAME_LIMIT_BYTES} bytes")),
            ("put", size) => match size.parse() {
                Ok(size) if size <= TRANSFER_LIMIT_BYTES => Ok(Self::Put(size)),
                _ => Err(format!("a transfer has at most {TRANSFER_LIMIT_BYTES} bytes")),
            },
            ("sum", "") => Ok(Self::Sum),
            ("logout", "") => Ok(Self::Logout),
            _ => Err("expected `login NAME`, `put N`, `sum` or `logout`".to_owned()),
        }
    }
}

/// The first line of `data` without its end, and how many bytes it takes with it.
pub fn line(data: &[u8]) -> Option<(&[u8], usize)> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    let line = data.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// The sum after these bytes (FNV-1a): it tells bytes that were lost, doubled or in another order.
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
