"""What the tests of pages measure and wait for."""
import time

# Elements that stick out to the right of the window, but for what lies in a region that scrolls.
WIDE = """
return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll, .skip') &&
  e.getBoundingClientRect().right > window.innerWidth + 0.5).map((e) => e.tagName + '.' + e.className).slice(0, 5);
"""



def structure_faults(captionless="", most_levels=1):
    """Script that adds to its list `faults`: tables without caption (but those within `captionless`) or heads, ids that stand
    twice, headings more than `most_levels` below the one before."""
    caption = f"!t.closest('{captionless}') && !t.caption" if captionless else "!t.caption"
    return """
            for (const t of document.querySelectorAll('table')) {
              if (%s) faults.push('no caption: ' + t.textContent.slice(0, 40));
              if (!t.querySelector('thead th[scope=col]')) faults.push('no heads: ' + t.textContent.slice(0, 40));
              if (!t.querySelector('tbody th[scope=row]')) faults.push('no row heads: ' + t.textContent.slice(0, 40));
            }
            const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
            if (new Set(ids).size !== ids.length) faults.push('an id twice');
            let level = 1;
            for (const e of document.querySelectorAll('h1, h2, h3, h4')) {
              const next = Number(e.tagName[1]);
              if (next > level + %d) faults.push('a level is skipped: ' + e.textContent);
              level = next;
            }""" % (caption, most_levels)


def contrast(a, b):
    """Of two colours [r, g, b]: WCAG 2.2, relative luminance and contrast ratio."""
    def luminance(colour):
        linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def wait_for(value, holds, seconds=120):
    """The first value() that holds, or the last one when none did in time."""
    end = time.monotonic() + seconds
    while not holds(result := value()) and time.monotonic() < end:
        time.sleep(0.05)
    return result
