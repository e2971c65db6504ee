#!/usr/bin/env python3
"""Prints the seven tasks' questions with their right answers as one plain text: usage: task_texts.py DATA N"""
import json
import pathlib
import sys


def arc(row):
    choices = dict(zip(row["choices"]["label"], row["choices"]["text"]))
    return f"Question: {row.get('question') or row.get('question_stem')}\nAnswer: {choices[row['answerKey']]}"


def boolq(row):
    answer = row.get("answer", row.get("label"))
    return f"{row['passage']}\nQuestion: {row['question']}?\nAnswer: {'yes' if answer in (True, 1) else 'no'}"


def hellaswag(row):
    return f"{row['activity_label']}: {row['ctx']} {row['endings'][int(row['label'])]}"


def piqa(row):
    return f"Question: {row['goal'].strip()}\nAnswer: {row['sol2'] if int(row['label']) else row['sol1']}"


def winogrande(row):
    return row["sentence"].replace("_", row["option" + str(row["answer"])])


TASKS = {"arc_challenge": arc, "arc_easy": arc, "boolq": boolq, "hellaswag": hellaswag, "openbookqa": arc,
         "piqa": piqa, "winogrande": winogrande}


def main():
    data, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    rows = {}
    for task in TASKS:
        lines = (data / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
        rows[task] = [json.loads(line) for line in lines]
    # In turns, so that every window holds some of each.
    for i in range(count):
        for task, text_of in TASKS.items():
            if i < len(rows[task]):
                print(text_of(rows[task][i]) + "\n")


if __name__ == "__main__":
    main()
