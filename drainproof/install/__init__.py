"""What an audit on a schedule needs in a cluster: printed, applied, or as files and as a chart."""
