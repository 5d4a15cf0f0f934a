"""The core of the plugin runtime; see `dotmac_isp.plugins.core.manager` for the façade."""
