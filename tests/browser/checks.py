"""What the tests of pages measure and wait for."""
import time

# Elements that stick out to the right of the window, but for what lies in a region that scrolls.
WIDE = """
return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll, .skip') &&
  e.getBoundingClientRect().right > window.innerWidth + 0.5).map((e) => e.tagName + '.' + e.className).slice(0, 5);
"""


def contrast(a, b):
    """Of two colours [r, g, b]: WCAG 2.2, relative luminance and contrast ratio."""
    def luminance(colour):
        linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def wait_for(value, holds, seconds=20):
    """The first value() that holds, or the last one when none did in time."""
    end = time.monotonic() + seconds
    while not holds(result := value()) and time.monotonic() < end:
        time.sleep(0.05)
    return result
