#!/usr/bin/env python3
"""Screenshots of a report page: light, dark, phone and print.

usage: screenshots.py REPORT.html FOLDER
"""
import pathlib
import sys

import webdriver


def take(page, folder):
    folder.mkdir(parents=True, exist_ok=True)
    url = pathlib.Path(page).resolve().as_uri()
    with webdriver.Browser(*webdriver.find_browser()) as browser:
        for name, scheme, width, height, scale in (("light", "light", 1280, 900, 1), ("dark", "dark", 1280, 900, 1),
                                                   ("phone", "light", 375, 812, 2)):
            browser.size(width, height, scale, mobile=name == "phone")
            browser.prefer(scheme)
            browser.open(url)
            browser.screenshot(folder / f"{name}.png")
        browser.size(1280, 900)
        browser.prefer("dark")
        browser.open(url)
        browser.print_pdf(folder / "print.pdf")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    if webdriver.find_browser() is None:
        sys.exit("screenshots.py: no chromium with its driver: tools/install_deps.sh browser")
    take(sys.argv[1], pathlib.Path(sys.argv[2]))


if __name__ == "__main__":
    main()
