"""mixins"""
