# SPDX-License-Identifier: Apache-2.0
"""tools/report on runs that are whole, short, restarted, cut off, empty or missing."""
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import synthetic

ROOT = Path(__file__).resolve().parent.parent.parent
ALL = {"loss", "bits_per_byte", "learning_rate", "gradient_norm", "throughput", "violation", "expert_load", "sources"}


def report(*arguments):
    done = subprocess.run([str(ROOT / "tools/report"), *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


class ReportTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.run_folder = self.folder / "run"

    def tearDown(self):
        shutil.rmtree(self.folder)

    def pictures(self):
        return {path.stem for path in (self.run_folder / "report").glob("*.png")}

    def history(self):
        return self.run_folder / "history.csv"

    def write_history(self, text):
        self.run_folder.mkdir(parents=True, exist_ok=True)
        self.history().write_text(text)

    def test_whole_run_has_all_pictures_and_one_page(self):
        synthetic.write(self.run_folder, steps=120, back_at=((60, 50),))
        code, text = report(self.run_folder)
        self.assertEqual(code, 0, text)
        self.assertEqual(self.pictures(), ALL)
        for path in (self.run_folder / "report").glob("*.png"):
            data = path.read_bytes()
            self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
            width, height = struct.unpack(">II", data[16:24])
            self.assertGreater(width, 600, path)
            self.assertGreater(height, 200, path)
        page = (self.run_folder / "report/index.html").read_text()
        self.assertEqual(page.count("data:image/png;base64,"), len(ALL))
        self.assertNotIn("http", page)  # needs nothing else
        self.assertIn("&lt;made up&gt;", page)
        self.assertIn("all steps done", page)
        self.assertIn("10 rows were superseded", text)
        self.assertIn("xz -9 2.02", text)

    def test_rows_after_a_restart_supersede(self):
        sys.path.insert(0, str(ROOT / "tools"))
        script = (
            "import sys; sys.path.insert(0, sys.argv[1]); from report_parts import history; r = history.read_run(sys.argv[2]);"
            "print(list(map(int, r['step'])), r['loss'].tolist(), r.restarts, [s.tolist() for s, _ in r.loads.values()], r.sources)"
        )
        rows = ["step,loss,tokens_per_second,tokens_a", "# steps,nats,tokens/s,tokens", "1,9,1,1", "2,8,1,2", "3,7,1,3", "4,6,1,4", "step,loss,tokens_per_second,tokens_a", "3,5,1,3", "4,4,1,4", "5,3,1,5"]
        self.write_history("\n".join(rows) + "\n5,")
        (self.run_folder / "expert_load.csv").write_text("step,layer,e0,e1\n2,1,5,5\n4,1,5,5\n2,2,5,5\n4,2,5,5\n4,1,6,6\n4,2,6,6\n")
        done = subprocess.run(["/usr/bin/env", "python3", "-c", script, str(ROOT / "tools"), str(self.run_folder)], capture_output=True, text=True)
        if "No module named" in done.stderr:
            done = subprocess.run(["/usr/bin/python3", "-c", script, str(ROOT / "tools"), str(self.run_folder)], capture_output=True, text=True)
        self.assertEqual(done.stdout.strip(), "[1, 2, 3, 4, 5] [9.0, 8.0, 5.0, 4.0, 3.0] [2] [[2.0, 4.0], [2.0, 4.0]] ['a']", done.stderr)

    def test_short_runs(self):
        for steps in (1, 2, 3):
            synthetic.write(self.run_folder, steps=steps)
            code, text = report(self.run_folder)
            self.assertEqual(code, 0, text)
            self.assertIn("loss", self.pictures())
            shutil.rmtree(self.run_folder)

    def test_dense_run_and_old_columns(self):
        synthetic.write(self.run_folder, steps=30, layers=0)
        (self.run_folder / "baselines.csv").unlink()
        self.assertEqual(report(self.run_folder)[0], 0)
        self.assertNotIn("expert_load", self.pictures())
        self.write_history("step,loss\n1,2.5\n2,2.4\n")
        code, text = report(self.run_folder)
        self.assertEqual(code, 0, text)
        self.assertEqual(self.pictures(), {"loss"})  # those of the report before are gone

    def test_odd_cells(self):
        synthetic.write(self.run_folder, steps=40)
        lines = self.history().read_text().splitlines()
        lines[10] = lines[10].replace(lines[10].split(",")[3], "nan", 1)
        lines[11] = lines[11].replace(lines[11].split(",")[3], "inf", 1)
        lines[12] = "11,x,y"
        self.history().write_text("\n".join(lines) + "\n" + lines[-1][:20])
        code, text = report(self.run_folder)
        self.assertEqual(code, 0, text)
        self.assertIn("1 line that cannot be read", text)
        self.assertIn("cut off", text)

    def test_traced_step(self):
        synthetic.write(self.run_folder, steps=10)
        synthetic.write_trace(self.run_folder, 20)
        with open(self.run_folder / "run.log", "a") as log:
            log.write("2026-11-23T12:00:00Z info communication hidden: 83 %\n")
        code, text = report(self.run_folder)
        self.assertEqual(code, 0, text)
        self.assertIn("traced_step", self.pictures())
        self.assertIn("hidden: 83 %; 97 % in the traced steps", text)  # 66 of 2550 us are waited for
        page = (self.run_folder / "report/index.html").read_text()
        self.assertIn("97 % of the time in which a message was under way", page)

    def test_damaged_traces(self):
        synthetic.write(self.run_folder, steps=10)
        synthetic.write_trace(self.run_folder, 3)
        whole = (self.run_folder / "trace/rank-00001.json").read_text()
        (self.run_folder / "trace/rank-00001.json").write_text(whole[: len(whole) // 2])
        (self.run_folder / "trace/rank-00002.json").write_text('{"otherData":{"rank":2,"in_flight_seconds":0,"exposed_seconds":0},"traceEvents":[]}')
        code, text = report(self.run_folder)
        self.assertEqual(code, 0, text)
        self.assertIn("trace/rank-00001.json: cannot be read", text)
        self.assertIn("traced_step", self.pictures())

    def test_many_layers(self):
        synthetic.write(self.run_folder, steps=40, layers=14, experts=64)
        self.assertEqual(report(self.run_folder)[0], 0)
        self.assertIn("expert_load", self.pictures())

    def test_nothing_to_draw_is_said(self):
        for prepare, said in (
            (lambda: None, "no such folder"),
            (lambda: self.run_folder.mkdir(), "no history.csv"),
            (lambda: self.write_history(""), "no rows"),
            (lambda: self.write_history("step,loss\n# steps,nats\n"), "no rows"),
            (lambda: self.write_history("step,loss\n1,2"), "no rows"),
            (lambda: self.write_history("hello\nworld\n"), "name the columns"),
        ):
            prepare()
            code, text = report(self.run_folder)
            self.assertEqual(code, 6, text)
            self.assertIn(said, text)
            self.assertNotIn("Traceback", text)

    def test_unwritable_place_is_said(self):
        synthetic.write(self.run_folder, steps=3)
        (self.run_folder / "report").write_text("a file in the way")
        code, text = report(self.run_folder)
        self.assertEqual(code, 3, text)
        self.assertNotIn("Traceback", text)
        code, text = report(self.run_folder, "--out", self.folder / "elsewhere/deep")
        self.assertEqual(code, 0, text)
        self.assertTrue((self.folder / "elsewhere/deep/index.html").exists())


if __name__ == "__main__":
    unittest.main()
