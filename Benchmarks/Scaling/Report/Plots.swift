import Foundation

/// Scripts for gnuplot, each with its data inside, so that a plot can be changed and drawn again.
struct Plots {
  let report: Report

  /// Name of the plot and its script.
  var scripts: [(name: String, text: String)] {
    report.layouts.flatMap { layout in
      let suffix = "\(layout.ranks)-ranks" + (layout.hosts > 1 ? "-\(layout.hosts)-hosts" : "")
      return [("time-\(suffix)", time(layout)), ("speed-up-\(suffix)", speedUp(layout))]
    } + (report.scaling.isEmpty ? [] : [("scaling", scaling)])
  }

  /// Colours that people with any kind of sight can tell apart, after Okabe and Ito.
  private static let colors = [
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#8C6D31",
  ]

  private func header(width: Int = 900, height: Int = 480) -> String {
    """
    set terminal svg size \(width),\(height) dynamic enhanced font 'Helvetica,14' background '#ffffff'
    set encoding utf8
    set border 3 lw 1 lc '#444444'
    set tics nomirror out
    set grid lc '#dddddd' lw 1 lt 1
    set key outside right center vertical Left reverse samplen 2 spacing 1.25 noenhanced

    """
  }

  private func sizeAxis(_ layout: Report.Layout) -> String {
    let tics = report.sizes(layout).enumerated().filter { $0.offset % 2 == 0 }
      .map { "'\(sizeText($0.element))' \($0.element)" }
    return """
      set logscale x 2
      set xlabel 'size of each rank''s buffer'
      set xtics (\(tics.joined(separator: ", "))) rotate by -35

      """
  }

  /// One line of a plot.
  private struct Series {
    let title: String
    let style: String
    let points: [(x: Double, y: Double)]
  }

  private func plot(_ series: [Series]) -> String {
    let blocks = series.enumerated().map { index, series in
      "$s\(index) << EOD\n" + series.points.map { "\($0.x) \($0.y)\n" }.joined() + "EOD\n"
    }
    let parts = series.enumerated().map { index, series in
      "$s\(index) using 1:2 \(series.title.isEmpty ? "notitle" : "title '\(series.title)'") with \(series.style)"
    }
    return blocks.joined() + "plot " + parts.joined(separator: ", \\\n  ") + "\n"
  }

  private func time(_ layout: Report.Layout) -> String {
    let series = Report.columns.enumerated().compactMap { index, column -> Series? in
      let points = report.allreduce.filter {
        layout.has($0) && column.isIn($0.job) && $0.algorithm == column.algorithm && $0.buffers == column.buffers
      }
      guard !points.isEmpty else { return nil }
      let width = index < 3 ? 2.5 : 1.2
      return Series(
        title: column.name, style: "linespoints lw \(width) pt \(index < 3 ? 7 : 6) ps 0.5 lc '\(Self.colors[index])'",
        points: points.map { (Double($0.bytes), $0.microseconds) })
    }
    return header() + sizeAxis(layout) + """
      set title 'Allreduce of Float, \(layout.name)'
      set logscale y 10
      set ylabel 'time (µs, median)'
      set format y '%g'

      """ + plot(series)
  }

  private func speedUp(_ layout: Report.Layout) -> String {
    var names: [String] = []
    for point in report.speedUps where layout.has(point) && !names.contains(point.against) {
      names.append(point.against)
    }
    let series = names.enumerated().map { index, name in
      let points = report.speedUps.filter { layout.has($0) && $0.against == name }
      return Series(
        title: name,
        style: "linespoints lw \(index < 2 ? 2.5 : 1.2) pt \(index < 2 ? 7 : 6) ps 0.5 "
          + "lc '\(Self.colors[(index + 1) % Self.colors.count])'",
        points: points.map { (Double($0.bytes), $0.ratio) })
    }
    let sizes = report.sizes(layout)
    let one = Series(
      title: "", style: "lines lw 1.5 dt 2 lc '#000000'",
      points: [sizes.first, sizes.last].compactMap { $0 }.map { (Double($0), 1) })
    return header() + sizeAxis(layout) + """
      set title 'How many times faster automatic is, \(layout.name)'
      set logscale y 2
      set ylabel 'time of MPI\\_Allreduce ÷ time of automatic'
      set key title 'automatic, against MPI\\_Allreduce' left

      """ + plot([one] + series)
  }

  /// Strong scaling on the left, weak scaling on the right; a row for each trainer.
  private var scaling: String {
    let kinds = ["strong", "weak"]
    var text =
      header(width: 1250, height: 760) + """
        set multiplot layout \(Report.trainers.count),\(kinds.count) \\
          title 'Efficiency by number of ranks: measured, and predicted from latency and bandwidth of a link' \\
          font 'Helvetica,16' margins 0.075,0.72,0.11,0.87 spacing 0.05,0.14
        set logscale x 2
        set xrange [0.9:1200]
        set yrange [0:1.1]
        set xtics (1, 2, 4, 8, 16, 32, 64, 128, 256, '' 512, '1,024' 1024)
        set tics font 'Helvetica,11'

        """
    for (row, trainer) in Report.trainers.enumerated() {
      for (column, kind) in kinds.enumerated() {
        guard let part = report.scaling.first(where: { $0.kind == kind && $0.trainer == trainer.0 }) else { continue }
        text += "set title '\(trainer.1), \(kind) scaling'\n"
        text += column == 0 ? "set ylabel 'efficiency'\n" : "unset ylabel\n"
        text += row == Report.trainers.count - 1 ? "set xlabel 'ranks'\n" : "unset xlabel\n"
        // One legend does for all.
        text += row == 0 && column == 1 ? "set key at screen 0.735,0.87 left top\n" : "set key off\n"
        text += plot(predictions(part) + measured(part))
      }
    }
    return text + "unset multiplot\n"
  }

  private func measured(_ part: Report.Scaling) -> [Series] {
    let own = part.points.filter { !$0.oversubscribed }
    let over = part.points.filter(\.oversubscribed)
    let series = [
      Series(
        title: "measured", style: "linespoints lw 2.5 pt 7 ps 0.8 lc '\(Self.colors[0])'",
        points: own.map { (Double($0.ranks), $0.efficiency) }),
      Series(
        title: "measured, oversubscribed", style: "points pt 6 ps 0.9 lw 1.5 lc '\(Self.colors[0])'",
        points: over.map { (Double($0.ranks), $0.efficiency) }),
    ]
    return series.filter { !$0.points.isEmpty }
  }

  private func predictions(_ part: Report.Scaling) -> [Series] {
    report.links.enumerated().map { index, link in
      Series(
        title: "predicted, \(link.name)\(link.isMeasured ? "" : " (assumed)")",
        style: "lines lw 2 dt (8,5) lc '\(Self.colors[1 + index % (Self.colors.count - 1)])'",
        points: part.predictions.filter { $0.link == link.name }.map { (Double($0.ranks), $0.efficiency) })
    }
  }
}
