//! Numbers as decimal digits, where they are written so often that the standard formatter would show.

/// How many digits the longest number has.
const MOST_DIGITS: usize = 20;

/// Writes the last `N` digits of a number.
pub fn push_digits<const N: usize>(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += last_digit(&mut number);
    }
    text.extend_from_slice(&digits);
}

/// Writes a number with as many digits as it has.
pub fn push_number(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; MOST_DIGITS];
    let mut first = MOST_DIGITS;
    while first == MOST_DIGITS || number > 0 {
        first -= 1;
        digits[first] += last_digit(&mut number);
    }
    text.extend_from_slice(&digits[first..]);
}

/// Writes the first `count` digits of a fraction of microseconds, and the period before them; nothing if there are none.
pub fn push_fraction(text: &mut Vec<u8>, micros: u64, count: usize) {
    match count {
        0 => {}
        3 => {
            text.push(b'.');
            push_digits::<3>(text, micros / 1000);
        }
        _ => {
            text.push(b'.');
            push_digits::<6>(text, micros);
            text.truncate(text.len() - 6_usize.saturating_sub(count));
        }
    }
}

/// Takes the last digit from a number. The divisor is known, so this takes no division.
fn last_digit(number: &mut u64) -> u8 {
    let digit = (*number % 10).to_le_bytes()[0];
    *number /= 10;
    digit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        push(&mut text);
        String::from_utf8(text).expect("digits")
    }

    #[test]
    fn numbers_are_written_as_the_standard_formatter_does() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            assert_eq!(pushed(|text| push_number(text, number)), number.to_string());
        }
        for number in [0, 7, 1234] {
            assert_eq!(pushed(|text| push_digits::<4>(text, number)), format!("{number:04}"));
        }
        assert_eq!(pushed(|text| push_digits::<2>(text, 1234)), "34");
    }

    #[test]
    fn fractions_have_as_many_digits_as_they_are_to_have() {
        for (micros, count, shown) in
            [(123_456, 6, ".123456"), (20_000, 3, ".020"), (900_000, 1, ".9"), (0, 2, ".00"), (0, 0, "")]
        {
            assert_eq!(pushed(|text| push_fraction(text, micros, count)), shown);
        }
    }
}
