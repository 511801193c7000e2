//! Ballast: rows that a swap has to carry, for measuring what the size of a state costs. The same in every version.

use guest_sdk::prelude::*;

/// 4 million rows are about 350 MB in an instance; more would not leave room to take them over.
pub const MAX_ROWS: u64 = 4_000_000;

/// The numbers that count as numbers of rows, in words.
pub const RANGE: &str = "a number from 0 to 4000000";

/// A row, about 40 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Row {
    /// Its number, from 1.
    pub id: u64,
    /// A name.
    pub name: String,
    /// A value.
    pub value: i64,
}

/// Adds so many rows, up to the limit.
///
/// # Errors
/// The number is not one, or more than there is room for.
pub fn add(rows: &mut Vec<Row>, count: &[u8]) -> Result<(), String> {
    let count = std::str::from_utf8(count).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let room = MAX_ROWS.saturating_sub(rows.len() as u64);
    match count {
        Some(count) if count <= room => {
            extend(rows, count);
            Ok(())
        }
        Some(_) => Err(format!("there is room for {room} more rows")),
        None => Err(format!("add-rows takes {RANGE}")),
    }
}

/// Adds so many rows.
pub fn extend(rows: &mut Vec<Row>, count: u64) {
    let first = rows.len() as u64 + 1;
    rows.extend((first..first + count).map(|id| Row {
        id,
        name: format!("a row that a swap carries {id:07}"),
        value: id.cast_signed() * 7,
    }));
}
